//! Latencies, counted in classes that are 3 % wide: what a load of millions of commands can afford.

use std::time::Duration;

/// Classes to each doubling.
const FINE: u32 = 32;
/// Enough for what lasts a day.
const CLASSES: usize = 48 * FINE as usize;

/// How many commands took how long.
#[derive(Clone)]
pub struct Histogram(Vec<u64>);

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram(vec![0; CLASSES])
    }
}

impl Histogram {
    /// Counts one.
    pub fn add(&mut self, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.0[class(ns).min(CLASSES - 1)] += 1;
    }

    /// The time that this share of them did not exceed; zero if there are none.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Duration {
        let total: u64 = self.0.iter().sum();
        let mut left = ((total as f64 * share).ceil() as u64).max(1);
        for (class, count) in self.0.iter().enumerate() {
            if *count >= left {
                return Duration::from_nanos(longest(class));
            }
            left -= count;
        }
        Duration::ZERO
    }
}

/// The class of a time: exact below [`FINE`], then [`FINE`] to each doubling.
fn class(ns: u64) -> usize {
    let doublings = (ns / u64::from(FINE)).checked_ilog2().map_or(0, |log| log + 1);
    let within = if doublings == 0 { ns } else { (ns >> (doublings - 1)) - u64::from(FINE) };
    doublings as usize * FINE as usize + within as usize
}

/// The longest time of a class.
fn longest(class: usize) -> u64 {
    let (doublings, within) = (class as u32 / FINE, class as u64 % u64::from(FINE));
    match doublings {
        0 => within,
        _ => ((within + u64::from(FINE) + 1) << (doublings - 1)) - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_in_its_class_and_classes_are_narrow() {
        for ns in (0..5000).chain([1 << 20, (1 << 20) + 77, 123_456_789, 1 << 40]) {
            let class = class(ns);
            assert!(ns <= longest(class) && (class == 0 || longest(class - 1) < ns), "{ns}");
            assert!(longest(class) as f64 <= (ns as f64 * 1.04).max(32.0), "{ns}");
        }
    }

    #[test]
    fn quantiles() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), Duration::ZERO);
        (1..=100).for_each(|us| histogram.add(Duration::from_micros(us)));
        let near = |share, us: f64| (histogram.quantile(share).as_secs_f64() * 1e6 / us - 1.0).abs() < 0.04;
        assert!(near(0.5, 50.0) && near(0.99, 99.0) && near(1.0, 100.0));
    }
}
