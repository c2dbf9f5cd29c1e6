//! The server: what a mounted tree shows, and what it refuses.
#![cfg(feature = "server")]

#[path = "../common/mod.rs"]
mod common;

mod a_handle_unmounts_from_another_thread;
mod a_later_mount_at_the_same_place_is_left_alone;
mod a_mount_in_use_is_detached_at_once;
mod a_mutable_file_shows_its_new_content;
mod a_panic_in_the_tree_ends_one_request_only;
mod a_session_can_live_apart_from_its_mount;
mod a_trees_error_reaches_the_reader_and_the_person;
mod a_wrong_mount_point_is_named;
mod an_aborted_session_leaves_no_dead_mount_point;
mod an_ordinary_user_can_mount;
mod attributes_arrive_as_the_tree_tells_them;
mod dropping_a_mount_unmounts_it;
mod eight_readers_at_once_get_the_right_bytes;
mod extended_attributes_keep_to_the_rules;
mod holes_can_be_sought_and_take_no_space;
mod large_files_go_past_the_page_cache;
mod large_reads_arrive_in_one_piece;
mod links_lead_where_the_tree_says;
mod listing_shows_every_entry_of_a_large_directory;
mod new_entries_appear_while_mounted;
mod one_damaged_file_does_not_hide_its_neighbours;
mod reads_at_odd_offsets_return_the_files_bytes;
mod rights_stay_behind_unless_asked_for;
mod unmounting_from_outside_ends_join;
mod what_never_changes_is_asked_once;
mod writing_is_refused;
