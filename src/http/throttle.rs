//! Limits joins without a key: a token bucket per client address, in bounded memory.

use std::{
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::Mutex,
    time::{Duration, Instant},
};

use governor::{
    DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};

/// Most addresses with a bucket of their own. While there are more, the rest share one bucket.
const ADDRESSES_MAX: usize = 10_000;
/// Time between two sweeps of full buckets. Each visits all buckets.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Bits of an IPv6 address that name the network. Its owner chooses the rest.
const IPV6_NETWORK_BITS: u32 = 64;

/// Buckets by key. `None` is the shared one.
pub struct Throttle<K: Hash + Eq + Clone> {
    /// The buckets.
    limiter: DefaultKeyedRateLimiter<Option<K>>,
    /// Time of the last sweep.
    swept_at: Mutex<Instant>,
}

impl<K: Hash + Eq + Clone> Throttle<K> {
    /// Makes buckets of `burst`, refilled at `per_second`. Zeros count as one.
    #[must_use]
    pub fn new(per_second: u32, burst: u32) -> Self {
        let at_least_one = |count: u32| NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(at_least_one(per_second)).allow_burst(at_least_one(burst));
        Self {
            limiter: RateLimiter::keyed(quota),
            swept_at: Mutex::new(Instant::now()),
        }
    }

    /// Takes one from the key's bucket.
    ///
    /// # Errors
    /// The whole seconds, at least one, until the bucket has one again.
    pub fn check(&self, key: K) -> Result<(), u64> {
        let bucket = if self.has_room() { Some(key) } else { None };
        self.limiter.check_key(&bucket).map_err(|refusal| {
            let wait = refusal.wait_time_from(DefaultClock::default().now());
            wait.as_secs() + u64::from(wait.subsec_nanos() > 0).max(u64::from(wait.is_zero()))
        })
    }

    /// Whether one more key may get its own bucket. Drops full buckets from time to time.
    fn has_room(&self) -> bool {
        if self.limiter.len() < ADDRESSES_MAX {
            return true;
        }
        let is_due = {
            let mut swept_at = self.swept_at.lock().expect("no holder of this lock panics");
            let is_due = swept_at.elapsed() >= SWEEP_INTERVAL;
            if is_due {
                *swept_at = Instant::now();
            }
            is_due
        };
        if is_due {
            self.limiter.retain_recent();
            self.limiter.shrink_to_fit();
        }
        self.limiter.len() < ADDRESSES_MAX
    }
}

/// What counts as one address: an IPv4 address, or an IPv6 network.
#[must_use]
pub fn bucket_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let network = address.to_bits() >> IPV6_NETWORK_BITS << IPV6_NETWORK_BITS;
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_over_its_burst_is_told_when_to_come_back_and_others_are_served() {
        let throttle = Throttle::new(1, 3);
        assert!((0..3).all(|_| throttle.check("alice").is_ok()));
        assert_eq!(throttle.check("alice"), Err(1));
        assert!(throttle.check("bob").is_ok());
    }

    #[test]
    fn any_number_of_addresses_needs_bounded_memory() {
        let throttle = Throttle::new(1, 1);
        for number in 0..ADDRESSES_MAX + 100 {
            let _ = throttle.check(number);
        }
        assert!(throttle.limiter.len() <= ADDRESSES_MAX + 1);
    }

    #[test]
    fn one_ipv6_network_is_one_address() {
        let of = |text: &str| bucket_of(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.7"), of("192.0.2.7"));
    }
}
