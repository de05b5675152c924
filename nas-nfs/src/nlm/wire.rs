//! What travels between lock managers: version 4 (RFC 1813 appendix II, XNFS chapter 14).
//!
//! Invariant: what is decoded is a copy of its own, at most as long as named here: a lock that waits for
//! hours keeps no receive buffer alive.

use super::table::Status;
use crate::xdr::{xdr_struct, Reader, Writer, Xdr, XdrFault};
use bytes::Bytes;

/// Bytes of a machine's name, at most.
pub const NAME_MAX: usize = 255;
/// Bytes of a netobj, at most (MAXNETOBJ_SZ).
pub const OBJECT_MAX: usize = 1024;

/// Opaque data of at most `MAX` bytes, copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opaque<const MAX: usize>(pub Bytes);

impl<const MAX: usize> Xdr for Opaque<MAX> {
    fn get(input: &mut Reader) -> Result<Self, XdrFault> {
        Ok(Opaque(Bytes::copy_from_slice(&input.opaque(MAX)?)))
    }

    fn put(&self, output: &mut Writer) {
        output.opaque(&self.0);
    }
}

xdr_struct! {
    /// nlm4_lock.
    pub struct Lock {
        /// What the client calls itself.
        pub caller: Opaque<NAME_MAX>,
        /// The file.
        pub handle: Opaque<64>,
        /// The owner as the client names it, for the client's own use.
        pub owner: Opaque<OBJECT_MAX>,
        /// The owner's process.
        pub process: u32,
        /// The first byte.
        pub offset: u64,
        /// How many; 0 = to the end of any file.
        pub len: u64,
    }

    /// nlm4_testargs: of TEST and GRANTED.
    pub struct TestArguments {
        /// The caller's mark of this call.
        pub cookie: Opaque<OBJECT_MAX>,
        /// Whether the lock excludes all others.
        pub exclusive: bool,
        /// The lock.
        pub lock: Lock,
    }

    /// nlm4_lockargs: of LOCK and NM_LOCK.
    pub struct LockArguments {
        /// The caller's mark of this call.
        pub cookie: Opaque<OBJECT_MAX>,
        /// Whether to wait.
        pub block: bool,
        /// Whether the lock excludes all others.
        pub exclusive: bool,
        /// The lock.
        pub lock: Lock,
        /// Whether it was held before the server restarted.
        pub reclaim: bool,
        /// The client's NSM state number.
        pub state: u32,
    }

    /// nlm4_cancargs.
    pub struct CancelArguments {
        /// The caller's mark of this call.
        pub cookie: Opaque<OBJECT_MAX>,
        /// As it was asked for.
        pub block: bool,
        /// As it was asked for.
        pub exclusive: bool,
        /// The lock.
        pub lock: Lock,
    }

    /// nlm4_unlockargs.
    pub struct UnlockArguments {
        /// The caller's mark of this call.
        pub cookie: Opaque<OBJECT_MAX>,
        /// What to release.
        pub lock: Lock,
    }

    /// nlm4_shareargs.
    pub struct ShareArguments {
        /// The caller's mark of this call.
        pub cookie: Opaque<OBJECT_MAX>,
        /// What the client calls itself.
        pub caller: Opaque<NAME_MAX>,
        /// The file.
        pub handle: Opaque<64>,
        /// Who there.
        pub owner: Opaque<OBJECT_MAX>,
        /// fsh4_mode: what nobody else may do.
        pub mode: u32,
        /// fsh4_access: what it does.
        pub access: u32,
        /// Whether it was there before the server restarted.
        pub reclaim: bool,
    }

    /// nlm4_notify: of FREE_ALL.
    pub struct NotifyArguments {
        /// What the client calls itself.
        pub name: Opaque<NAME_MAX>,
        /// Not used.
        pub state: u32,
    }

    /// nlm4_res.
    pub struct Reply {
        /// That of the call.
        pub cookie: Opaque<OBJECT_MAX>,
        /// How it ended.
        pub status: Status,
    }

    /// nlm4_shareres.
    pub struct ShareReply {
        /// That of the call.
        pub cookie: Opaque<OBJECT_MAX>,
        /// How it ended.
        pub status: Status,
        /// Not used.
        pub sequence: u32,
    }

    /// nlm4_holder.
    pub struct Holder {
        /// Whether it excludes all others.
        pub exclusive: bool,
        /// The process.
        pub process: u32,
        /// Who there: nothing, since it is not the asking client's business.
        pub owner: Opaque<OBJECT_MAX>,
        /// The first byte.
        pub offset: u64,
        /// How many; 0 = to the end.
        pub len: u64,
    }
}

/// nlm4_testres.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestReply {
    /// That of the call.
    pub cookie: Opaque<OBJECT_MAX>,
    /// How it ended.
    pub status: Status,
    /// What stands against the lock: with [`Status::Denied`] only.
    pub holder: Option<Holder>,
}

impl Xdr for TestReply {
    fn get(input: &mut Reader) -> Result<TestReply, XdrFault> {
        let (cookie, status) = (Xdr::get(input)?, Status::get(input)?);
        let holder = if status == Status::Denied { Some(Holder::get(input)?) } else { None };
        Ok(TestReply { cookie, status, holder })
    }

    fn put(&self, output: &mut Writer) {
        self.cookie.put(output);
        self.status.put(output);
        if let Some(holder) = &self.holder {
            holder.put(output);
        }
    }
}

impl Xdr for Status {
    fn get(input: &mut Reader) -> Result<Status, XdrFault> {
        const ALL: [Status; 10] = [
            Status::Granted,
            Status::Denied,
            Status::NoLocks,
            Status::Blocked,
            Status::Grace,
            Status::Deadlock,
            Status::ReadOnly,
            Status::Stale,
            Status::TooBig,
            Status::Failed,
        ];
        let number = u32::get(input)?;
        ALL.get(number as usize).copied().ok_or(XdrFault::Unknown(number))
    }

    fn put(&self, output: &mut Writer) {
        (*self as u32).put(output);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xdr::encoded;

    fn lock() -> Lock {
        Lock {
            caller: Opaque("client".into()),
            handle: Opaque(Bytes::from_static(&[7; 52])),
            owner: Opaque("1@client".into()),
            process: 1,
            offset: 2,
            len: 3,
        }
    }

    /// The bytes of a LOCK as XNFS says them.
    #[test]
    fn a_lock_call_is_these_bytes() {
        let cookie = Opaque(Bytes::from_static(&[0, 0, 0, 9]));
        let call =
            LockArguments { cookie, block: true, exclusive: false, lock: lock(), reclaim: true, state: 5 };
        let mut golden = vec![0, 0, 0, 4, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, 0];
        golden.extend(b"\0\0\0\x06client\0\0\0\0\0\x34");
        golden.extend([7; 52]);
        golden
            .extend(b"\0\0\0\x081@client\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\x01\0\0\0\x05");
        assert_eq!(encoded(&call), golden);
        assert_eq!(LockArguments::get(&mut Reader::new(golden.clone().into())), Ok(call));
        for len in 0..golden.len() {
            assert!(LockArguments::get(&mut Reader::new(golden[..len].to_vec().into())).is_err());
        }
    }

    #[test]
    fn a_reply_names_a_holder_only_if_there_is_one() {
        let cookie = Opaque::default();
        let (exclusive, owner) = (true, Opaque::default());
        let holder = Holder { exclusive, process: 1, owner, offset: 0, len: 0 };
        let denied = TestReply { cookie: cookie.clone(), status: Status::Denied, holder: Some(holder) };
        let granted = TestReply { cookie, status: Status::Granted, holder: None };
        for reply in [denied, granted] {
            assert_eq!(TestReply::get(&mut Reader::new(encoded(&reply).into())), Ok(reply));
        }
        assert_eq!(Status::get(&mut Reader::new(vec![0, 0, 0, 10].into())), Err(XdrFault::Unknown(10)));
    }

    #[test]
    fn names_and_objects_have_bounds() {
        let mut long = lock();
        long.caller = Opaque(vec![b'x'; NAME_MAX + 1].into());
        assert!(Lock::get(&mut Reader::new(encoded(&long).into())).is_err());
        let mut long = lock();
        long.handle = Opaque(vec![0; 65].into());
        assert!(Lock::get(&mut Reader::new(encoded(&long).into())).is_err());
    }
}
