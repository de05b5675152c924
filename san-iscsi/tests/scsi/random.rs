//! Every command of the table with arbitrary fields and data, from two nexuses on one disk: no panic, no
//! answer that contradicts itself, none that comes late.

use super::bench::{host, mapped, naa, Bench, Seat};
use bytes::Bytes;
use san_iscsi::scsi::command::{LunField, Status};
use san_iscsi::scsi::limits::COMMAND_TIME;
use san_iscsi::scsi::nexus::{Begin, TaskManagement};
use tokio::time::{timeout, Instant};

/// Commands of a run.
const COMMANDS: usize = 60_000;

/// xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 33) % end
    }

    /// Mostly zeros and ones, small numbers, and the edges.
    fn byte(&mut self) -> u8 {
        match self.below(8) {
            0 => self.next() as u8,
            1 => 0xff,
            2 => 1 << self.below(8),
            3 => self.below(4) as u8,
            _ => 0,
        }
    }
}

/// Operation code, service action if it has one, and usage map of all that is supported.
async fn table(seat: &Seat) -> Vec<Vec<u8>> {
    let all = seat.good(0, &[0xa3, 0x0c, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]).await;
    let mut table = Vec::new();
    for descriptor in all[4..].chunks(8) {
        let option = 1 + (descriptor[5] & 1);
        let one = [0xa3, 0x0c, option, descriptor[0], 0, descriptor[3], 0, 0, 1, 0, 0, 0];
        table.push(seat.good(0, &one).await[4..].to_vec());
    }
    table
}

fn arbitrary(random: &mut Random, usage: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut cdb: Vec<u8> = usage.iter().map(|mask| random.byte() & mask).collect();
    cdb[0] = usage[0];
    if random.below(50) == 0 {
        let at = random.below(cdb.len() as u64) as usize;
        cdb[at] ^= random.byte();
    }
    // What the known service actions have in common with their usage map.
    if [0x5e, 0x5f, 0x83, 0x84, 0x9e, 0xa3].contains(&usage[0]) {
        cdb[1] = usage[1] & 0x1f;
    }
    let len = [0, 24, 108, 512, 1024, 4096, random.below(2000)][random.below(7) as usize];
    let mut data: Vec<u8> = (0..len).map(|_| random.byte()).collect();
    match usage[0] {
        0x5f if data.len() >= 24 => {
            cdb[2] = [1, 3, 5, 6, 7, 8][random.below(6) as usize];
            cdb[5..9].copy_from_slice(&24_u32.to_be_bytes());
            data.truncate(24);
            data[..7].fill(0);
            data[8..15].fill(0);
            (data[7], data[15]) = (random.below(3) as u8, random.below(3) as u8);
        }
        0x83 if data.len() >= 108 => {
            data.resize(108, 0);
            cdb[10..14].copy_from_slice(&108_u32.to_be_bytes());
            data[..16].copy_from_slice(&[1, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 28, 0, 0, 0, 0]);
            for n in 0..2 {
                let device = &mut data[16 + 32 * n..48 + 32 * n];
                device[..8].copy_from_slice(&[0xe4, 0, 0, 0, 1, 3, 0, 16]);
                device[8..24].copy_from_slice(&naa(n).0);
            }
            data[80..88].copy_from_slice(&[2, 0, 0, 24, 0, 0, 0, random.below(3) as u8]);
        }
        0x42 => cdb[7..9].copy_from_slice(&(data.len() as u16).to_be_bytes()),
        _ => {}
    }
    (cdb, data)
}

#[tokio::test(start_paused = true)]
async fn every_command_with_arbitrary_fields_is_answered() {
    for seed in 1..=3_u64 {
        let hosts = (0..2).map(|n| host(n, &[(0, mapped(0)), (1, mapped(1))])).collect();
        let bench = Bench::with(2, hosts).await;
        let seats = [bench.login(0).await, bench.login(1).await];
        let table = table(&seats[0]).await;
        let mut random = Random(seed);
        let mut good = 0;
        for n in 0..COMMANDS / 3 {
            let seat = &seats[random.below(2) as usize];
            let usage = &table[random.below(table.len() as u64) as usize];
            let (cdb, data) = arbitrary(&mut random, usage);
            let lun = random.below(2) as u16;
            if random.below(500) == 0 {
                seat.nexus
                    .task_management(TaskManagement::LogicalUnitReset, LunField::from_number(lun))
                    .await;
            }
            let start = Instant::now();
            let answer = match seat.begin(lun, &cdb, data.len()) {
                Begin::Answer(answer) => answer,
                Begin::Proceed(task) => {
                    let data = Bytes::from(data).slice(..task.data_out() as usize);
                    timeout(2 * COMMAND_TIME, task.execute(data)).await.expect("an answer in time")
                }
            };
            let what = format!("seed {seed}, command {n}: {cdb:02x?}: {answer:02x?}");
            assert!(start.elapsed() <= COMMAND_TIME, "{what}");
            assert_eq!(answer.sense.is_some(), answer.status == Status::CheckCondition, "{what}");
            assert!(answer.data_in.is_empty() || answer.status == Status::Good, "{what}");
            assert!(answer.data_in.len() as u64 <= answer.transfer, "{what}");
            good += usize::from(answer.status == Status::Good);
        }
        assert!(good > COMMANDS / 3 / 10, "only {good} commands were done");
    }
}
