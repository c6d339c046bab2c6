// SPDX-License-Identifier: Apache-2.0
//! A vhost-user daemon on crates that nobody here wrote: persistent memory in which there is what
//! it is told on stdin to map.
//!
//! `peer SOCKET` serves one front end. Each line of stdin is one request to it, and is repeated on
//! stdout with what came of it, `: done` or `: refused, WHY`:
//!
//! ```text
//! map r|rw PATH SHMID FD_OFFSET SHM_OFFSET LEN FLAGS
//! unmap SHMID SHM_OFFSET LEN
//! ```
//!
//! where r or rw is how PATH is opened.

use std::error::Error;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::sync::{Arc, OnceLock};
use std::{env, thread};

use vhost::vhost_user::message::{
    VhostUserMMap, VhostUserProtocolFeatures, VhostUserShMemConfig, VhostUserVirtioFeatures,
};
use vhost::vhost_user::{Backend, VhostUserFrontendReqHandler};
use vhost_user_backend::{VhostUserBackend, VhostUserDaemon, VringRwLock, VringT};
use virtio_queue::QueueT;
use vm_memory::{GuestAddressSpace, GuestMemoryAtomic, GuestMemoryMmap};
use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::event::{
    new_event_consumer_and_notifier, EventConsumer, EventFlag, EventNotifier,
};

const VIRTIO_F_VERSION_1: u64 = 1 << 32;
const VIRTIO_PMEM_F_SHMEM_REGION: u64 = 1 << 0;
/// By shmid. The first is the persistent memory.
const REGIONS: [u64; 3] = [4 << 20, 0, 64 << 10];

type Memory = GuestMemoryAtomic<GuestMemoryMmap>;

struct Peer {
    memory: Memory,
    frontend: OnceLock<Backend>,
}

impl VhostUserBackend for Peer {
    type Bitmap = ();
    type Vring = VringRwLock;

    fn num_queues(&self) -> usize {
        1
    }

    fn max_queue_size(&self) -> usize {
        1024
    }

    fn features(&self) -> u64 {
        VIRTIO_PMEM_F_SHMEM_REGION
            | VIRTIO_F_VERSION_1
            | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits()
    }

    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        VhostUserProtocolFeatures::REPLY_ACK
            | VhostUserProtocolFeatures::BACKEND_REQ
            | VhostUserProtocolFeatures::BACKEND_SEND_FD
            | VhostUserProtocolFeatures::SHMEM
    }

    fn set_event_idx(&self, _enabled: bool) {}

    fn update_memory(&self, _memory: Memory) -> io::Result<()> {
        Ok(())
    }

    fn set_backend_req_fd(&self, frontend: Backend) {
        // A second one would be another connection's, and there is only one.
        let _ = self.frontend.set(frontend);
    }

    fn get_shmem_config(&self) -> io::Result<VhostUserShMemConfig> {
        Ok(VhostUserShMemConfig::new(2, &REGIONS))
    }

    fn exit_event(&self, _thread: usize) -> Option<(EventConsumer, EventNotifier)> {
        new_event_consumer_and_notifier(EventFlag::NONBLOCK | EventFlag::CLOEXEC).ok()
    }

    /// Every request is a flush. What is mapped are files, whose writer has them flushed.
    fn handle_event(
        &self,
        _event: u16,
        _events: EventSet,
        vrings: &[VringRwLock],
        _thread: usize,
    ) -> io::Result<()> {
        let memory = self.memory.memory();
        let mut ring = vrings[0].get_mut();
        while let Some(chain) = ring.get_queue_mut().pop_descriptor_chain(memory.clone()) {
            let head = chain.head_index();
            let status = 0u32.to_le_bytes();
            let mut answer = chain.writer(&*memory).map_err(io::Error::other)?;
            answer.write_all(&status)?;
            ring.add_used(head, 4).map_err(io::Error::other)?;
            ring.signal_used_queue()?;
        }
        Ok(())
    }
}

impl Peer {
    fn request(&self, line: &str) -> Result<(), Box<dyn Error>> {
        let frontend = self.frontend.get().ok_or("nobody is connected")?;
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["map", mode, path, shmid, fd_offset, shm_offset, len, flags] => {
                let file = OpenOptions::new()
                    .read(true)
                    .write(mode == "rw")
                    .open(path)?;
                let map = VhostUserMMap {
                    shmid: shmid.parse()?,
                    fd_offset: fd_offset.parse()?,
                    shm_offset: shm_offset.parse()?,
                    len: len.parse()?,
                    flags: flags.parse()?,
                    ..Default::default()
                };
                frontend.shmem_map(&map, &file)?;
            }
            ["unmap", shmid, shm_offset, len] => {
                let map = VhostUserMMap {
                    shmid: shmid.parse()?,
                    shm_offset: shm_offset.parse()?,
                    len: len.parse()?,
                    ..Default::default()
                };
                frontend.shmem_unmap(&map)?;
            }
            _ => return Err("that is no request".into()),
        }
        Ok(())
    }

    fn obey_stdin(&self) {
        for line in io::stdin().lines().map_while(Result::ok) {
            match self.request(&line) {
                Ok(()) => println!("{line}: done"),
                Err(why) => println!("{line}: refused, {why}"),
            }
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let socket = env::args().nth(1).ok_or("usage: peer SOCKET")?;
    let memory = Memory::new(GuestMemoryMmap::new());
    let peer = Arc::new(Peer {
        memory: memory.clone(),
        frontend: OnceLock::new(),
    });
    let mut daemon =
        VhostUserDaemon::new("peer".into(), peer.clone(), memory).map_err(|e| e.to_string())?;
    thread::spawn(move || peer.obey_stdin());
    daemon.serve(socket).map_err(|e| e.to_string())?;
    Ok(())
}
