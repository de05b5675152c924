//! The engine's main path, end to end on simulated disks: a first look before the simulation proper.

use ashlar_tests::sim::{FaultPlan, Machine};
use block_layer::index::TwinIndex;
use block_layer::pool::{CreateOptions, Layout};
use block_layer::{Buf, Bytes, Geometry};
use snapshots::engine::MERGE_RULES;
use snapshots::{Engine, EngineConfig, EngineParts};
use std::sync::Arc;

fn parts(machine: &Machine, index: &TwinIndex) -> EngineParts {
    let disks = machine.disks().iter().map(|d| d.clone() as Arc<dyn block_layer::Disk>).collect();
    let mut config = EngineConfig::default();
    config.store.reserve_bytes = 64 << 10;
    config.store.cache_bytes = 1 << 20;
    EngineParts { runtime: machine.runtime(), disks, index: Arc::new(index.clone()), config }
}

fn pattern(seed: u8, len: usize) -> Bytes {
    Buf::copy_of(&(0..len).map(|i| seed.wrapping_mul(31).wrapping_add((i / 7) as u8)).collect::<Vec<_>>())
        .freeze()
}

#[test]
fn data_survives_snapshots_clones_rollback_and_a_restart() {
    let mut machine = Machine::new(7);
    machine.add_disk("disk-a", Geometry { len: 64 << 20, sector: 512, sparse: false }, FaultPlan::default());
    let index = TwinIndex::new(MERGE_RULES);
    let options = CreateOptions {
        name: block_layer::format::PoolName::new("p").unwrap(),
        layout: Layout { ring_len: Some(1 << 20) },
        force: false,
    };
    let p = parts(&machine, &index);
    let engine = machine.run(Engine::create(p, &options)).unwrap().unwrap();
    let e = engine.clone();
    machine
        .run(async move {
            let id = e.create_dataset("vol", 1, 10 << 20, b"attr").await.unwrap();
            let v = e.volume(id);
            let o = Default::default();
            v.write(0, pattern(1, 8192), &o).await.unwrap();
            v.write(512, pattern(2, 1024), &o).await.unwrap();
            v.write((1 << 20) - 4096, pattern(3, 65536), &o).await.unwrap();
            let got = v.read(512, Buf::zeroed(1024)).await.unwrap();
            assert_eq!(&got[..], &pattern(2, 1024)[..]);
            let s1 = e.snapshot(&[(id, "s1")]).await.unwrap()[0];
            v.write(0, pattern(4, 4096), &o).await.unwrap();
            v.write_zeroes(4096, 8192, &o).await.unwrap();
            let got = v.at(s1).read(512, Buf::zeroed(1024)).await.unwrap();
            assert_eq!(&got[..], &pattern(2, 1024)[..]);
            let changed = v.changed_since(Some(&v.at(s1)), 0, 100).await.unwrap();
            assert_eq!(changed.len(), 1, "{changed:?}");
            assert_eq!((changed[0].offset, changed[0].len), (0, 8192));
            let c = e.clone_snapshot(s1, "clone", 1, b"").await.unwrap();
            let cv = e.volume(c);
            let got = cv.read(1 << 20, Buf::zeroed(4096)).await.unwrap();
            assert_eq!(&got[..], &pattern(3, 65536)[4096..8192]);
            cv.write(0, pattern(5, 4096), &o).await.unwrap();
            e.flatten(c, |_, _| true).await.unwrap();
            e.rollback(id, s1).await.unwrap();
            let got = v.read(512, Buf::zeroed(1024)).await.unwrap();
            assert_eq!(&got[..], &pattern(2, 1024)[..]);
            v.clone_range(2 << 20, &v.at(s1), 0, 8192, &o).await.unwrap();
            assert!(v.compare_and_write(0, &[1; 512], &[2; 512], None).await.is_err());
            while e.background_step().await.unwrap() {}
            e.audit().await.unwrap();
            e.delete_dataset(c, true).await.unwrap();
            while e.background_step().await.unwrap() {}
            e.audit().await.unwrap();
            let _durable = e.flush().await.unwrap();
        })
        .unwrap();
    drop(engine);
    machine.kill();
    machine.run(machine.drained()).unwrap();
    let p = parts(&machine, &index);
    let (engine, warnings) = machine.run(Engine::open(p)).unwrap().unwrap();
    assert!(warnings.is_empty());
    machine
        .run(async move {
            let id = engine.find_dataset("vol").unwrap();
            let v = engine.volume(id);
            let got = v.read(2 << 20, Buf::zeroed(8192)).await.unwrap();
            assert_eq!(&got[512..1536], &pattern(2, 1024)[..]);
            engine.audit().await.unwrap();
            assert_eq!(engine.scrub(0).await.unwrap().damaged_blocks, 0);
            engine.close().await.unwrap();
        })
        .unwrap();
}
