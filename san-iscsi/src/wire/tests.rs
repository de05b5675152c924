//! Every PDU through `emit` and `parse` and back, and headers as the RFC draws them.

use super::*;
use crate::scsi::command::{Cdb, LunField, TaskAttribute, CDB_MAX};

const LUN: LunField = LunField([0, 7, 0, 0, 0, 0, 0, 0]);
const ORDER: Order = Order { immediate: true, cmd_sn: Sn(0x0102_0304), exp_stat_sn: Sn(0x0506_0708) };
const WINDOW: Window = Window { stat_sn: Sn(1), exp_cmd_sn: Sn(2), max_cmd_sn: Sn(u32::MAX) };

fn command(cdb: Cdb) -> ScsiCommand {
    ScsiCommand {
        order: Order { immediate: false, ..ORDER },
        last: true,
        read: true,
        write: false,
        attribute: TaskAttribute::Ordered,
        lun: LUN,
        task: TaskTag(0x0a0b_0c0d),
        expected: 4096,
        cdb,
    }
}

#[test]
fn a_command_stands_as_the_rfc_draws_it() {
    let mut cdb = Cdb([0; CDB_MAX]);
    cdb.0[..2].copy_from_slice(&[0x28, 0x08]);
    let (bhs, ahs) = command(cdb).emit();
    assert!(ahs.is_empty());
    let golden = "01c2000000000000 0007000000000000 0a0b0c0d00001000 0102030405060708 2808000000000000";
    let golden = format!("{golden} 0000000000000000").replace(' ', "");
    assert_eq!(text::to_hex(&bhs), format!("0x{golden}"));
}

#[test]
fn every_request_is_read_as_it_was_written() {
    let mut long = Cdb([0; CDB_MAX]);
    long.0 = std::array::from_fn(|i| i as u8);
    let login = LoginRequest {
        order: ORDER,
        more: false,
        stage: Stage::Security,
        next: Some(Stage::Operational),
        version_max: 1,
        version_min: 0,
        isid: Isid([1, 2, 3, 4, 5, 6]),
        tsih: Tsih(0xabcd),
        task: TaskTag(9),
        cid: Cid(3),
    };
    let requests = [
        Request::NopOut(NopOut { order: ORDER, lun: LUN, task: None, transfer: Some(TransferTag(5)) }),
        Request::NopOut(NopOut { order: ORDER, lun: LUN, task: Some(TaskTag(1)), transfer: None }),
        Request::ScsiCommand(command(long)),
        Request::TaskManagement(TaskManagementRequest {
            order: ORDER,
            function: TaskFunction::LogicalUnitReset,
            lun: LUN,
            task: TaskTag(1),
            referenced: TaskTag(2),
            ref_cmd_sn: Sn(3),
        }),
        Request::Login(login),
        Request::Login(LoginRequest { more: true, next: None, stage: Stage::Operational, ..login }),
        Request::Text(TextRequest {
            order: ORDER,
            last: true,
            more: false,
            task: TaskTag(1),
            transfer: None,
        }),
        Request::DataOut(DataOut {
            task: TaskTag(1),
            transfer: Some(TransferTag(2)),
            last: true,
            data_sn: 3,
            offset: 4,
            exp_stat_sn: Sn(5),
        }),
        Request::Logout(LogoutRequest {
            order: ORDER,
            reason: LogoutReason::CloseConnection,
            task: TaskTag(1),
            cid: Cid(2),
        }),
        Request::Snack(SnackRequest),
    ];
    for request in requests {
        let (bhs, ahs) = request.emit();
        assert_eq!(Request::parse(&bhs, &ahs), Ok(request));
    }
}

#[test]
fn every_answer_is_read_as_it_was_written() {
    let (task, window) = (TaskTag(7), WINDOW);
    let nop = NopIn { window, lun: LUN, task: None, transfer: Some(TransferTag(1)) };
    assert_eq!(NopIn::parse(&nop.emit()), nop);
    for residual in [Residual::None, Residual::Underflow(1), Residual::Overflow(2)] {
        let end = ScsiResponse { window, task, status: 2, residual, exp_data_sn: 3 };
        assert_eq!(ScsiResponse::parse(&end.emit()), Ok(end));
        let data = DataIn { window, task, last: true, good: Some(residual), data_sn: 4, offset: 5 };
        assert_eq!(DataIn::parse(&data.emit()), Ok(data));
    }
    let data = DataIn { window, task, last: false, good: None, data_sn: 4, offset: 5 };
    assert_eq!(DataIn::parse(&data.emit()), Ok(data));
    let managed = TaskManagementResponse { window, task, result: TaskManagementResult::Rejected };
    assert_eq!(TaskManagementResponse::parse(&managed.emit()), Ok(managed));
    let r2t = R2t { window, lun: LUN, task, transfer: TransferTag(2), r2t_sn: 3, offset: 4, len: 5 };
    assert_eq!(R2t::parse(&r2t.emit()), Ok(r2t));
    let text = TextResponse { window, last: false, more: true, task, transfer: Some(TransferTag(1)) };
    assert_eq!(TextResponse::parse(&text.emit()), Ok(text));
    let logout = LogoutResponse { window, task, result: LogoutResult::CidNotFound, wait: 2, retain: 0 };
    assert_eq!(LogoutResponse::parse(&logout.emit()), Ok(logout));
    let reject = Reject { window, reason: RejectReason::Protocol };
    assert_eq!(Reject::parse(&reject.emit()), Ok(reject));
    let login = LoginResponse {
        window,
        more: false,
        stage: Stage::Operational,
        next: Some(Stage::FullFeature),
        isid: Isid([1; 6]),
        tsih: Tsih(2),
        task,
        status: LoginStatus::SessionDoesNotExist,
    };
    assert_eq!(LoginResponse::parse(&login.emit()), Ok(login));
    for event in [
        AsyncEvent::Scsi,
        AsyncEvent::LogoutRequest { within: 3 },
        AsyncEvent::DropConnection { cid: 1, wait: 2, retain: 3 },
        AsyncEvent::DropSession { wait: 2, retain: 3 },
    ] {
        let message = AsyncMessage { window, lun: LUN, event };
        assert_eq!(AsyncMessage::parse(&message.emit()), Ok(message));
    }
}

#[test]
fn invalid_headers_are_refused() {
    let mut bhs: Bhs = [0; BHS_LEN];
    bhs[0] = 0x1f;
    assert_eq!(Request::parse(&bhs, &[]), Err(PduFault::Opcode(0x1f)));
    let (bhs, _) = command(Cdb([0; CDB_MAX])).emit();
    for (ahs, fault) in [
        (&[0, 5, 2, 0, 0, 0, 0, 9][..], PduFault::Unsupported("a bidirectional command")),
        (&[0, 18, 1, 0], PduFault::Ahs),
        (&[0, 18], PduFault::Ahs),
        (&[0, 0, 1, 0], PduFault::Ahs),
        (&[0, 1, 9, 0], PduFault::Ahs),
    ] {
        assert_eq!(Request::parse(&bhs, ahs), Err(fault), "{ahs:?}");
    }
    let mut both = bhs;
    both[1] |= 0x60;
    assert_eq!(Request::parse(&both, &[]), Err(PduFault::Unsupported("a bidirectional command")));
    let mut attribute = bhs;
    attribute[1] |= 0x07;
    assert_eq!(Request::parse(&attribute, &[]), Err(PduFault::Field { at: 1 }));
    let mut untagged = bhs;
    untagged[16..20].fill(0xff);
    assert_eq!(Request::parse(&untagged, &[]), Err(PduFault::Field { at: 16 }));
}

#[test]
fn a_login_goes_forward_only() {
    for flags in [0x80 | 0x04, 0x80 | 0x05, 0x80 | 0x02, 0x08, 0x0c, 0xc1] {
        let mut bhs: Bhs = [0; BHS_LEN];
        (bhs[0], bhs[1]) = (0x43, flags);
        assert_eq!(LoginRequest::parse(&bhs), Err(PduFault::Field { at: 1 }), "{flags:#x}");
    }
}

#[test]
fn residuals_count_both_ways() {
    assert_eq!(Residual::between(512, 512), Residual::None);
    assert_eq!(Residual::between(512, 96), Residual::Underflow(416));
    assert_eq!(Residual::between(0, u64::from(u32::MAX) + 9), Residual::Overflow(u32::MAX));
}
