//! Promise 5: the files of guests, as their own kernels show them.

#[path = "../cli_support/mod.rs"]
mod cli_support;
#[path = "../common/mod.rs"]
mod common;
#[path = "../guest_support/mod.rs"]
mod guest_support;

mod ext_crash;
mod ext_damage;
mod ext_fast_commit;
mod ext_features;
mod ext_features_refused;
mod ext_journal;
mod ext_journal_damage;
mod ext_kernel_written;
mod ext_large;
mod ext_mutation;
mod ext_rare;
mod facts;
mod fragmented;
mod hostile_disk;
mod hostile_names;
mod identity;
mod lvm;
mod lvm_kernel;
mod lvm_mutation;
mod lvm_tree;
mod partition_gpt;
mod partition_mbr;
mod probe;
mod uml;
mod xfs_crash;
mod xfs_damage;
mod xfs_features;
mod xfs_log;
mod xfs_mutation;
mod xfs_unfinished;
mod xfs_v4;
mod xfs_v4_log;
