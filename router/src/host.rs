//! Host names as requests carry them, and a map from host names to anything: exact names first, then wildcards. Pure.

use std::{borrow::Cow, collections::HashMap};

use http::uri::Authority;
use model::name::Hostname;

/// What belongs to host names. A wildcard stands for the names one label below its parent.
#[derive(Debug, Clone)]
pub struct HostMap<T> {
    exact: HashMap<String, T>,
    below: HashMap<String, T>,
}

impl<T> Default for HostMap<T> {
    fn default() -> Self {
        HostMap { exact: HashMap::new(), below: HashMap::new() }
    }
}

impl<T> HostMap<T> {
    /// Binds a name. The first binding of a name stays; false: there was one.
    pub fn insert(&mut self, host: &Hostname, value: T) -> bool {
        let (map, key) = match host.as_str().strip_prefix("*.") {
            Some(parent) => (&mut self.below, parent),
            None => (&mut self.exact, host.as_str()),
        };
        if map.contains_key(key) {
            return false;
        }
        map.insert(key.to_owned(), value);
        true
    }

    /// What belongs to a name in its normal form (see [`normal`]).
    pub fn get(&self, host: &str) -> Option<&T> {
        self.exact.get(host).or_else(|| {
            let (_, parent) = host.split_once('.')?;
            self.below.get(parent)
        })
    }
}

/// A name as it is looked up: without port and trailing dot, in lower case.
pub fn normal(authority: &Authority) -> Cow<'_, str> {
    lower(authority.host())
}

/// As [`normal`], for a name that has no port.
pub fn lower(host: &str) -> Cow<'_, str> {
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn map(hosts: &[&str]) -> HostMap<String> {
        let mut map = HostMap::default();
        for host in hosts {
            map.insert(&host.parse().unwrap(), (*host).to_owned());
        }
        map
    }

    #[test]
    fn an_exact_name_wins_over_a_wildcard() {
        let map = map(&["*.example.com", "www.example.com"]);
        let found = |host| map.get(host).map(String::as_str);
        assert_eq!(found("www.example.com"), Some("www.example.com"));
        assert_eq!(found("api.example.com"), Some("*.example.com"));
    }

    #[test]
    fn a_wildcard_is_one_label_deep() {
        let map = map(&["*.example.com"]);
        for unknown in ["example.com", "a.b.example.com", "com", "", ".", "aexample.com"] {
            assert_eq!(map.get(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn the_first_binding_of_a_name_stays() {
        let mut map = HostMap::default();
        let host = "a.example.com".parse().unwrap();
        assert!(map.insert(&host, 1) && !map.insert(&host, 2));
        assert_eq!(map.get("a.example.com"), Some(&1));
    }

    #[test]
    fn case_port_and_trailing_dot_do_not_matter() {
        for text in ["Shop.Example.COM:8080", "shop.example.com.", "SHOP.EXAMPLE.COM.:443"] {
            let authority: Authority = text.parse().unwrap();
            assert_eq!(normal(&authority), "shop.example.com", "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_lookup_agrees_with_a_search_of_the_list(
            hosts in proptest::collection::vec("(\\*\\.)?[ab](\\.[ab]){1,2}", 0..12),
            asked in "[ab*](\\.[ab]){0,3}",
        ) {
            let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
            let found = map(&hosts).get(&asked).cloned();
            let wildcard = asked.split_once('.').map(|(_, parent)| format!("*.{parent}"));
            let is_bound = |name: &str| hosts.contains(&name) && !name.is_empty();
            let expected = if !asked.starts_with('*') && is_bound(&asked) {
                Some(asked.clone())
            } else {
                wildcard.filter(|name| is_bound(name))
            };
            prop_assert_eq!(found, expected);
        }
    }
}
