//! The longer texts of `clusterctl help`.

/// After the help of its command.
pub const EXAMPLES: &str = "\
Examples:
  clusterctl up                              a cluster with everything at its usual place
  clusterctl up --http-port 8080 --https-port 8443
  clusterctl status                          how the programs are
  clusterctl logs controller -f              what one of them says
  clusterctl doctor                          what is wrong, and what to do about it
  clusterctl down                            stop everything, keep the data

A second cluster on the same machine needs a folder, a node name and ports of its own:
  clusterctl up --data /srv/two --node two --http-port 8080 --https-port 8443 \\
      --ssh-port 2223 --api-port 8001 --registry-port 5001 --base-port 17400";

/// After the help of its command.
pub const UP_HELP: &str = "\
Everything that could be in the way is looked at before anything is changed, and told at once.
What is chosen is kept: a later `clusterctl up` needs no flags. To choose differently, stop the cluster first.

Examples:
  clusterctl up
  clusterctl up --domain apps.example.org --bind 203.0.113.7
  clusterctl up --demo deploy/demo           also push this app and show that it answers";

/// After the help of its command.
pub const UPGRADE_HELP: &str = "\
One node after the other: run it on each in turn; `--check` says which is next. Requests to apps do not fail meanwhile.
What lay in the programs' folder before is kept there in `previous/`.

Examples:
  clusterctl upgrade --check
  clusterctl upgrade --from /root/trireme-0.2.0";

/// After the help of its command.
pub const CERTS_HELP: &str = "\
Certificates are renewed by themselves 60 days before they end, and taken up without a restart; nothing has to be done.
Rotate them when a key may have been seen by others, on every node. The authority's own key is not replaced.";

/// After the help of its command.
pub const INIT_HELP: &str = "\
The cluster's memory is an etcd cluster; its first member runs here (Debian's package etcd-server).
Three nodes with control survive the loss of one.

Example:
  clusterctl init --address 10.0.0.11 --domain apps.example.org";

/// After the help of its command.
pub const MIGRATE_HELP: &str = "\
For a cluster that began with `clusterctl up`. etcd (Debian's package etcd-server) starts beside the programs that run, then they
take up their new settings one by one; requests to apps do not fail meanwhile, the API and `git push` are away for seconds.
At its end units are replaced, new ones first, so that other nodes reach them. It prints how they join.
Run it again after a cut: it goes on where it was.

Example:
  clusterctl store:migrate --address 10.0.0.11";

/// After the help of its command.
pub const JOIN_HELP: &str = "\
Run it again after a failure: it goes on where it was.

Examples:
  clusterctl join --address 10.0.0.12 --token TOKEN
  clusterctl join --address 10.0.0.14 --token TOKEN --no-control     only runs apps";

/// After the help of its command.
pub const REPLACE_HELP: &str = "\
The lost node is taken out: its units, its member of etcd, its certificates. Then it prints how the new machine joins; it gets
the labels of the lost one, and its name with --node. Run it again for another token.

Example:
  clusterctl nodes:replace n2";

/// After the help of its command.
pub const RECOVER_HELP: &str = "\
For the case that the others do not come back: as long as they may, wait, for then everything goes on by itself.
They must be switched off and must not start again with their old disks. What is here is copied first.
Run it again after a cut: it goes on where it was.

Example, on the node that is left:
  clusterctl recover --confirm-dead n2,n3";

/// After the help of its command.
pub const BACKUP_HELP: &str = "\
Users, apps, releases, config, domains, certificates and keys as they are at one moment, the keys of the cluster, and the
images in force with the git histories. Logs, and images of earlier releases, are not in it.

The file holds the keys of the cluster: keep it as you keep a password.

Examples:
  clusterctl backup /mnt/backups/monday
  clusterctl backup --check /mnt/backups/monday
  clusterctl backup - | age --encrypt --recipient age1... > monday.age";

/// After the help of its command.
pub const RESTORE_HELP: &str = "\
For a machine that has no cluster. The domain and the ports are those of the backup where no others are given. The nodes
that were are no part of the new cluster: they neither obey it nor are they obeyed.

Examples:
  clusterctl restore /mnt/backups/monday --address 10.0.0.11     others can join
  clusterctl restore /mnt/backups/monday --single                a cluster of this machine alone";
