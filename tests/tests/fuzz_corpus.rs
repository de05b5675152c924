//! The fuzzers' inputs as plain tests: every file of `fuzz/corpus/NAME/` goes through decoder NAME.
//!
//! A finding of `make fuzz` is added to the corpus with its repair, and is checked here ever after.

use ashlar_tests::decoders::DECODERS;
use ashlar_tests::sim::Rng;
use ashlar_tests::source;
use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

/// Damaged inputs that each decoder gets.
const DAMAGED: u32 = 50_000;

#[test]
fn every_input_of_the_corpus_is_decoded_without_panic() {
    let mut faults = Vec::new();
    for (name, decode) in DECODERS {
        let dir = source::root().join("fuzz/corpus").join(name);
        let inputs = names(&dir);
        assert!(!inputs.is_empty(), "fuzz/corpus/{name} holds no input");
        for input in inputs {
            let bytes = fs::read(dir.join(&input)).expect("an input of the corpus is readable");
            if catch_unwind(|| decode(&bytes)).is_err() {
                faults.push(format!("fuzz/corpus/{name}/{input}: the decoder panics"));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn every_decoder_survives_short_and_uniform_input() {
    for (_, decode) in DECODERS {
        for fill in [0, 1, 0x7f, 0x80, 0xff] {
            (0..=4160).step_by(13).for_each(|len| decode(&vec![fill; len]));
        }
    }
}

/// `make fuzz` in small: some thousand inputs near those of the corpus, the same ones every time.
#[test]
fn every_decoder_survives_damaged_inputs_of_the_corpus() {
    for (name, decode) in DECODERS {
        let dir = source::root().join("fuzz/corpus").join(name);
        let inputs: Vec<Vec<u8>> =
            names(&dir).iter().map(|input| fs::read(dir.join(input)).expect("readable")).collect();
        let mut rng = Rng::new(18);
        for _ in 0..DAMAGED {
            let mut input = rng.pick(&inputs).clone();
            (0..=rng.below(4)).for_each(|_| damage(&mut input, &mut rng));
            if catch_unwind(|| decode(&input)).is_err() {
                panic!("decoder {name} panics on {input:02x?}");
            }
        }
    }
}

fn damage(input: &mut Vec<u8>, rng: &mut Rng) {
    let at = rng.below(input.len() as u64 + 1) as usize;
    match (rng.below(5), input.get_mut(at)) {
        (0, _) => input.truncate(at),
        (1, Some(byte)) => *byte ^= 1 << rng.below(8),
        (2, Some(byte)) => *byte = *rng.pick(&[0, 1, 0x7f, 0x80, 0xfe, 0xff]),
        (3, _) => {
            let from = rng.below(at as u64 + 1) as usize;
            input.extend_from_within(from..at);
        }
        _ => input.insert(at, rng.next() as u8),
    }
}

#[test]
fn decoders_targets_and_corpora_have_the_same_names() {
    let decoders: BTreeSet<String> = DECODERS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let root = source::root();
    let targets = names(&root.join("fuzz/fuzz_targets"));
    let targets: BTreeSet<String> =
        targets.iter().filter_map(|n| n.strip_suffix(".rs")).map(str::to_owned).collect();
    assert_eq!(targets, decoders, "fuzz/fuzz_targets/*.rs and ashlar_tests::decoders::DECODERS");
    assert_eq!(names(&root.join("fuzz/corpus")), decoders, "fuzz/corpus/* and DECODERS");
    let manifest = fs::read_to_string(root.join("fuzz/Cargo.toml")).expect("fuzz/Cargo.toml");
    for name in decoders {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "fuzz/Cargo.toml has no [[bin]] {name}");
    }
}

fn names(dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    entries.map(|e| e.expect("a readable directory").file_name().to_string_lossy().into_owned()).collect()
}
