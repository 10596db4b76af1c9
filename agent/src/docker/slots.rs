//! The address and the published port of a unit: one number gives both. A unit keeps its number through every start, and
//! nobody has it after until all others were given (or the agent was started again, and then by a small chance). So a route
//! table that is old leads to the unit it names or to nothing, and not to another app's.
//!
//! ```text
//!   172.18.0.0/16   lower half: the engine's, for containers without a number
//!                   upper half: 172.18.128.0 + number          published at port 20000 + number
//! ```

use std::{
    net::Ipv4Addr,
    sync::atomic::{AtomicU16, Ordering},
};

use bollard::models::{Ipam, IpamConfig};
use model::name::UnitId;

/// Below those the kernel gives to connections.
const FIRST_PORT: u16 = 20_000;
/// As many numbers as ports.
const NUMBERS: u16 = 10_000;

/// The half of the network's addresses that units are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    first: Ipv4Addr,
    size: u16,
}

/// Where one unit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// Its number.
    pub number: u16,
    /// Its address on its own node.
    pub ip: Ipv4Addr,
    /// Its port on the node's address, where it is published.
    pub port: u16,
}

impl Pool {
    /// Of a network that was made with [`ipam`]; none of another, where the engine gives all addresses.
    pub fn of(ipam: Option<Ipam>) -> Option<Pool> {
        let config = ipam?.config?.into_iter().next()?;
        let halves = Halves::of(&config.subnet?)?;
        (config.ip_range? == halves.lower).then_some(halves.upper)
    }

    fn slot(&self, number: u16) -> Slot {
        let ip = Ipv4Addr::from_bits(self.first.to_bits() + u32::from(number));
        Slot { number, ip, port: FIRST_PORT + number }
    }
}

/// How a network on this subnet is made; none where it is too small.
pub fn ipam(subnet: &str) -> Option<Ipam> {
    let halves = Halves::of(subnet)?;
    let config = IpamConfig {
        subnet: Some(subnet.to_owned()),
        ip_range: Some(halves.lower),
        ..IpamConfig::default()
    };
    Some(Ipam { config: Some(vec![config]), ..Ipam::default() })
}

struct Halves {
    lower: String,
    upper: Pool,
}

impl Halves {
    fn of(subnet: &str) -> Option<Halves> {
        let (base, bits) = subnet.split_once('/')?;
        let (base, bits) = (base.parse::<Ipv4Addr>().ok()?, bits.parse::<u32>().ok()?);
        let half = 1_u32.checked_shl(31_u32.checked_sub(bits)?).filter(|half| *half > 1)?;
        // The last address is everybody's.
        let size = u16::try_from(half - 1).unwrap_or(NUMBERS).min(NUMBERS);
        let first = Ipv4Addr::from_bits(base.to_bits() + half);
        Some(Halves { lower: format!("{base}/{}", bits + 1), upper: Pool { first, size } })
    }
}

/// Gives numbers, each to nobody else until all were given.
#[derive(Debug)]
pub struct Slots(AtomicU16);

impl Slots {
    /// Begins anywhere: what was given before this start is not known.
    pub fn new() -> Slots {
        Slots(AtomicU16::new(rand::random_range(0..NUMBERS)))
    }

    /// That which the unit had before, or the next that no container on this machine has. `is_free` tells whether the
    /// machine itself has no use for it. None: all are taken.
    pub fn choose(
        &self,
        pool: Pool,
        unit: &UnitId,
        had: &[(String, u16)],
        is_free: impl Fn(Slot) -> bool,
    ) -> Option<Slot> {
        let of_unit = had.iter().find(|(other, _)| other == unit.as_str());
        let kept = of_unit.map(|(_, number)| *number).filter(|number| *number < pool.size);
        if let Some(kept) = kept.map(|number| pool.slot(number)).filter(|slot| is_free(*slot)) {
            return Some(kept);
        }
        let next = || {
            // It never fails: a number follows on every number.
            let after = |number| Some((number + 1) % NUMBERS);
            self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, after).unwrap_or_default()
        };
        (0..NUMBERS)
            .map(|_| next())
            .filter(|number| *number < pool.size && had.iter().all(|(_, taken)| taken != number))
            .map(|number| pool.slot(number))
            .find(|slot| is_free(*slot))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(subnet: &str) -> Option<Pool> {
        Pool::of(ipam(subnet))
    }

    fn choose(slots: &Slots, unit: &str, had: &[(&str, u16)]) -> Option<Slot> {
        let had: Vec<(String, u16)> =
            had.iter().map(|(unit, number)| ((*unit).to_owned(), *number)).collect();
        slots.choose(pool("172.18.0.0/16").unwrap(), &unit.parse().unwrap(), &had, |_| true)
    }

    #[test]
    fn units_have_the_upper_half_and_the_engine_the_lower() {
        let slot = pool("172.18.0.0/16").unwrap().slot(300);
        assert_eq!((slot.ip, slot.port), (Ipv4Addr::new(172, 18, 129, 44), 20_300));
        assert_eq!(pool("192.168.16.0/20").unwrap().size, 2_047);
        assert_eq!(pool("10.9.8.0/24").unwrap().slot(0).ip, Ipv4Addr::new(10, 9, 8, 128));
        for subnet in ["10.9.8.0/31", "10.9.8.0/32", "10.9.8.0", "fd00::/64", ""] {
            assert_eq!(pool(subnet), None, "{subnet}");
        }
        let mut engines = ipam("172.18.0.0/16").unwrap();
        engines.config.as_mut().unwrap()[0].ip_range = None;
        assert_eq!(Pool::of(Some(engines)), None);
    }

    #[test]
    fn a_unit_keeps_its_number_and_others_get_it_only_when_all_were_given() {
        let slots = Slots(AtomicU16::new(NUMBERS - 1));
        assert_eq!(choose(&slots, "shop-web-1", &[]).unwrap().number, NUMBERS - 1);
        let had = [("shop-web-1", NUMBERS - 1), ("odd-web-1", 0)];
        assert_eq!(choose(&slots, "shop-web-2", &had).unwrap().number, 1);
        assert_eq!(choose(&slots, "shop-web-1", &had).unwrap().number, NUMBERS - 1);
        let mut given: Vec<u16> =
            (2..NUMBERS).map(|_| choose(&slots, "a-web-1", &[]).unwrap().number).collect();
        given.sort_unstable();
        given.dedup();
        assert_eq!(given.len(), usize::from(NUMBERS) - 2, "each once");
    }

    #[test]
    fn what_the_machine_uses_itself_is_passed_by() {
        let slots = Slots(AtomicU16::new(5));
        let (pool, unit) = (pool("10.9.8.0/29").unwrap(), "shop-web-1".parse().unwrap());
        let mut had = vec![("shop-web-1".to_owned(), 1)];
        let is_free = |slot: Slot| slot.number == 2;
        assert_eq!(slots.choose(pool, &unit, &had, is_free).unwrap().number, 2);
        had.push(("odd-web-1".to_owned(), 2));
        assert_eq!(slots.choose(pool, &unit, &had, is_free), None);
    }
}
