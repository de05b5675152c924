//! libiscsi 1.19 as C has it (`iscsi/iscsi.h`, `iscsi/scsi-lowlevel.h`): what is used here, and nothing else.

use std::ffi::{c_char, c_int, c_uchar, c_void};

pub(crate) const SESSION_DISCOVERY: c_int = 1;
pub(crate) const SESSION_NORMAL: c_int = 2;
pub(crate) const DIGEST_NONE: c_int = 0;
pub(crate) const DIGEST_CRC32C: c_int = 3;

pub(crate) const STATUS_CANCELLED: c_int = 0x0f00_0000;
pub(crate) const STATUS_ERROR: c_int = 0x0f00_0001;

pub(crate) const XFER_NONE: c_int = 0;
pub(crate) const XFER_READ: c_int = 1;
pub(crate) const XFER_WRITE: c_int = 2;

pub(crate) const RESIDUAL_UNDERFLOW: c_int = 1;

/// `struct iscsi_context`: opaque.
#[repr(C)]
pub(crate) struct Context {
    _opaque: [u8; 0],
}

/// `struct scsi_sense`, whose bit fields share the byte behind `ascq`.
#[repr(C)]
pub(crate) struct Sense {
    error_type: c_uchar,
    pub(crate) key: c_int,
    pub(crate) ascq: c_int,
    bits: c_uchar,
    bit_pointer: c_uchar,
    field_pointer: u16,
}

/// `struct scsi_data`.
#[repr(C)]
pub(crate) struct Datain {
    pub(crate) size: c_int,
    pub(crate) data: *mut c_uchar,
}

/// `struct scsi_task`, up to the last field that is read here; only the library makes one.
#[repr(C)]
pub(crate) struct Task {
    pub(crate) status: c_int,
    cdb_size: c_int,
    xfer_dir: c_int,
    pub(crate) expxferlen: c_int,
    cdb: [c_uchar; 16],
    pub(crate) residual_status: c_int,
    pub(crate) residual: usize,
    pub(crate) sense: Sense,
    pub(crate) datain: Datain,
    mem: *mut c_void,
    ptr: *mut c_void,
    pub(crate) itt: u32,
    pub(crate) cmdsn: u32,
}

// As a C compiler lays them out on every 64-bit Linux.
#[cfg(target_pointer_width = "64")]
const _: () = {
    assert!(std::mem::size_of::<Sense>() == 16);
    assert!(std::mem::offset_of!(Task, residual) == 40);
    assert!(std::mem::offset_of!(Task, datain) == 64);
    assert!(std::mem::offset_of!(Task, itt) == 96);
};

/// `struct iscsi_target_portal`.
#[repr(C)]
pub(crate) struct Portal {
    pub(crate) next: *mut Portal,
    pub(crate) portal: *const c_char,
}

/// `struct iscsi_discovery_address`.
#[repr(C)]
pub(crate) struct Address {
    pub(crate) next: *mut Address,
    pub(crate) target: *const c_char,
    pub(crate) portals: *mut Portal,
}

/// `iscsi_command_cb`.
pub(crate) type Callback =
    extern "C" fn(context: *mut Context, status: c_int, data: *mut c_void, private: *mut c_void);

#[link(name = "iscsi")]
extern "C" {
    pub(crate) fn iscsi_create_context(initiator: *const c_char) -> *mut Context;
    pub(crate) fn iscsi_destroy_context(context: *mut Context) -> c_int;
    pub(crate) fn iscsi_set_noautoreconnect(context: *mut Context, state: c_int);
    pub(crate) fn iscsi_set_timeout(context: *mut Context, seconds: c_int) -> c_int;
    pub(crate) fn iscsi_set_session_type(context: *mut Context, kind: c_int) -> c_int;
    pub(crate) fn iscsi_set_header_digest(context: *mut Context, digest: c_int) -> c_int;
    pub(crate) fn iscsi_set_immediate_data(context: *mut Context, yes: c_int) -> c_int;
    pub(crate) fn iscsi_set_initial_r2t(context: *mut Context, yes: c_int) -> c_int;
    pub(crate) fn iscsi_set_isid_random(context: *mut Context, random: u32, qualifier: u32) -> c_int;
    pub(crate) fn iscsi_set_targetname(context: *mut Context, target: *const c_char) -> c_int;
    pub(crate) fn iscsi_set_initiator_username_pwd(
        context: *mut Context,
        user: *const c_char,
        secret: *const c_char,
    ) -> c_int;
    pub(crate) fn iscsi_set_target_username_pwd(
        context: *mut Context,
        user: *const c_char,
        secret: *const c_char,
    ) -> c_int;
    pub(crate) fn iscsi_get_error(context: *mut Context) -> *const c_char;
    pub(crate) fn iscsi_connect_sync(context: *mut Context, portal: *const c_char) -> c_int;
    pub(crate) fn iscsi_login_sync(context: *mut Context) -> c_int;
    pub(crate) fn iscsi_logout_sync(context: *mut Context) -> c_int;
    pub(crate) fn iscsi_discovery_sync(context: *mut Context) -> *mut Address;
    pub(crate) fn iscsi_free_discovery_data(context: *mut Context, list: *mut Address);
    pub(crate) fn iscsi_get_fd(context: *mut Context) -> c_int;
    pub(crate) fn iscsi_which_events(context: *mut Context) -> c_int;
    pub(crate) fn iscsi_service(context: *mut Context, revents: c_int) -> c_int;
    pub(crate) fn iscsi_out_queue_length(context: *mut Context) -> c_int;
    pub(crate) fn iscsi_scsi_command_async(
        context: *mut Context,
        lun: c_int,
        task: *mut Task,
        callback: Callback,
        data: *mut c_void,
        private: *mut c_void,
    ) -> c_int;
    pub(crate) fn iscsi_scsi_cancel_task(context: *mut Context, task: *mut Task) -> c_int;
    pub(crate) fn iscsi_task_mgmt_async(
        context: *mut Context,
        lun: c_int,
        function: c_int,
        itt: u32,
        cmdsn: u32,
        callback: Callback,
        private: *mut c_void,
    ) -> c_int;
    pub(crate) fn scsi_create_task(
        cdb_size: c_int,
        cdb: *const c_uchar,
        xfer_dir: c_int,
        expected: c_int,
    ) -> *mut Task;
    pub(crate) fn scsi_free_scsi_task(task: *mut Task);
    pub(crate) fn scsi_task_add_data_in_buffer(task: *mut Task, len: c_int, data: *mut c_uchar) -> c_int;
    pub(crate) fn scsi_task_add_data_out_buffer(task: *mut Task, len: c_int, data: *mut c_uchar) -> c_int;
}
