//! Public keys as people paste them.

use super::*;

const KEY_ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPDhYW1Z0pDwLF5F9C4IuSuJ9Q4NZMiLEVpKcehk49oV olga@desk home";
const KEY_ECDSA: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBF56jAiFs80UT1bC07M/czRJ6ogi3TOQqGB4KGppOoJraNrqOyXrSLyz4UVp6eV9aHVCVELv3W6Y19+uOlHqIzM= olga@desk home";
const KEY_521: &str = "ecdsa-sha2-nistp521 AAAAE2VjZHNhLXNoYTItbmlzdHA1MjEAAAAIbmlzdHA1MjEAAACFBAHRk4IVg68n/xVoelpp8bZOHK6imM28MgPoLrz0ANdB49ggy5WFHDbwvBhigQ4hU+/XM0JOdkAgrRPf18shaO//HgFvS8HfgYrIn4PPwLay0qQMcLQ6HpdriGKldVA4FpnTcvEZY0kDxPs3Qiwb3iqsiXG5OyB80IIbIgZPSUEgiW0eBg== olga@desk home";
const KEY_RSA: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQCHZvY6s53eY5ilS5HJqTsdAdiY4wsK6KmPOr8CEFUThkTmDte46lAICI4YPqZ9aeseuHotlpjiaDmR0IyVzOOWD/Hxm4pmVvX85uO2myi6g2cyOjgSxGwRj8TQ4heUgfUjI2Biyyvz7SxOxh5yuutnGzHH2ALeAw+CyCUIUxd/5JyBAvdUU2EKBAqs+rpPIvyy1qQMq5v52xuQfVXIMzkjWAZCBcj/LpPWdB270u3iJxQ7ASjhxUAMj+19mNUvm4l10/Rqc6pXa6072BcNg7vY1qyDnXB9VvMlEvu7IcygWu45KmiX/r9mm+46Rp4GPXoLh/Z/vX1Fton2jPlCRb1jp0wAExa3BPuSyqaBEEPjo0ojsE5VgwyBRY1gLIHp195ovcPx7EvfY7X6ARBiGuXEvZeui8RIC6IFQxNRnDCe7MPK2e5Zs0l2VIcBzZShxQ0rdmmV+sf0JTfA0bIJYo17vS9lpNPsze+hzQzLgIbvHzvPufPal7dmpzU8EJlQA00= olga@desk home";
const KEY_SMALL: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQDYr4y82ZzdBRB3b9Yf6KaStK1F64rbw/IMZaIJK63lXrYacpJWuigTc9tFHhh6K/ZiXT8hk/EtxneQXRfthPCg9fiUslvdpOitT/tNydjmNLAsBowek3eIuH2jtamShBkTNQvqtYyozmyjyQSN+2tU1U5yGglNVMl5/s92SgJe0Q== olga@desk home";

#[test]
fn fingerprints_are_those_of_ssh_keygen() {
    for (line, algorithm, fingerprint) in [
        (KEY_ED25519, "ssh-ed25519", "SHA256:5p0+KuBVY3encovKJN8NLmONP+SzWvq/MqP2tDsWf54"),
        (KEY_ECDSA, "ecdsa-sha2-nistp256", "SHA256:l09tCMaBMGRvhwJAwpSihmW2SbqmTS8rykZgsMh7ldU"),
        (KEY_521, "ecdsa-sha2-nistp521", "SHA256:DqbovHdxLGmnQhXcmuFN0f/SgNFrgXvg3xI5LJL2WhE"),
        (KEY_RSA, "ssh-rsa", "SHA256:sNr2VqIE4dpqZUzPp1+5jOkvfBEK2OaSt4Tc2+HAJ08"),
    ] {
        let key = parse(line).unwrap();
        assert_eq!((key.algorithm.as_str(), key.fingerprint.as_str()), (algorithm, fingerprint));
        assert_eq!(key.comment, "olga@desk home");
        assert_eq!(format!("{} olga@desk home", key.text), line);
    }
}

#[test]
fn what_is_no_usable_key_is_refused_with_its_reason() {
    let cut = &KEY_ED25519[..40];
    let with_options = format!("no-pty {KEY_ED25519}");
    let two_lines = format!("{KEY_ED25519}\n{KEY_RSA}");
    let other_name = KEY_ED25519.replacen("ssh-ed25519", "ssh-rsa", 1);
    for (line, error) in [
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nabc", KeyError::Private),
        ("", KeyError::Lines),
        ("hello", KeyError::Form),
        ("hello world", KeyError::Form),
        ("ssh-dss AAAA", KeyError::Algorithm),
        (cut, KeyError::Damaged),
        (&with_options, KeyError::Options),
        (&two_lines, KeyError::Lines),
        (&other_name, KeyError::Damaged),
        (KEY_SMALL, KeyError::SmallRsa),
    ] {
        assert_eq!(parse(line), Err(error), "{line}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp256) [A-Za-z0-9+/]{0,80}={0,2}") {
        let _ = parse(&text);
    }
}
