//! What proves who somebody is: passwords, bearer secrets, SSH keys.

pub mod password;
pub mod secret;
pub mod ssh_key;
pub mod throttle;
