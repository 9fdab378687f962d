//! The one contract: every queue, store and session store passes these laws.
//!
//! A new adapter implements [`kind::Kind`] and adds one line for each port that it has at the end.

#![allow(clippy::unwrap_used, reason = "everything here is a test")]

#[path = "contract/kind.rs"]
mod kind;
#[path = "contract/queue_laws.rs"]
mod queue_laws;
#[path = "contract/reader_laws.rs"]
mod reader_laws;
#[path = "contract/session_laws.rs"]
mod session_laws;
#[path = "contract/store_laws.rs"]
mod store_laws;

macro_rules! laws {
    ($module:ident, $laws:ident, $kind:ty, $($law:ident)*) => {
        mod $module {
            $(#[tokio::test]
            async fn $law() {
                crate::$laws::$law::<$kind>().await;
            })*
        }
    };
}

macro_rules! queue_contract {
    ($module:ident: $kind:ty) => {
        laws! { $module, queue_laws, $kind,
            order_is_kept_per_log
            positions_begin_at_one_and_increase
            what_is_appended_survives_a_reopen
            an_id_is_appended_once
            an_id_is_appended_once_within_a_batch
            an_id_is_absorbed_after_a_reopen_too
            an_id_is_known_per_log
            unacknowledged_messages_are_delivered_again
            acknowledgements_may_come_in_any_order
            acknowledging_twice_or_what_never_was_changes_nothing
            acknowledgements_survive_a_close
            appended_is_acknowledged_plus_pending
            what_is_buried_is_acknowledged_and_counted_as_dead
            progress_tells_what_is_acknowledged_and_takes_nothing_over
            forgotten_dead_letters_are_no_longer_read
            forgotten_letters_make_room_for_none_and_are_dropped_with_the_others
            a_closed_queue_says_so
            closing_wakes_a_waiting_pull
            a_dropped_pull_loses_nothing
            a_pull_waits_for_the_next_message
            a_second_consumer_takes_over
            a_log_made_anew_has_another_identity
            reading_shows_acknowledged_messages
            old_messages_are_dropped_and_positions_go_on
            the_dead_log_keeps_the_newest
            a_slow_consumer_of_a_dropping_log_skips
            concurrent_appends_all_arrive_once
            an_empty_append_is_fine
        }
    };
}

/// Laws of queues that know what is pending when they take a message, and take a batch as one.
macro_rules! exact_queue_contract {
    ($module:ident: $kind:ty) => {
        laws! { $module, queue_laws, $kind,
            a_batch_over_several_logs_goes_in_as_one
            a_full_log_refuses_and_recovers
            a_known_id_is_absorbed_by_a_full_log
        }
    };
}

/// Laws of queues that several processes can open.
macro_rules! reader_contract {
    ($module:ident: $kind:ty) => {
        laws! { $module, reader_laws, $kind,
            every_reader_sees_every_message_from_its_beginning_on
            a_reader_goes_on_behind_what_it_acknowledged
            a_barred_reader_is_closed_and_its_floor_told
            a_message_is_done_with_when_all_readers_have_it
            a_follower_hears_what_comes_from_now_on
        }
    };
}

macro_rules! store_contract {
    ($module:ident: $kind:ty) => {
        laws! { $module, store_laws, $kind,
            a_device_without_a_record_has_the_default_one
            what_is_committed_is_loaded
            records_survive_a_reopen
            a_stale_write_is_a_conflict
            a_batch_answers_each_write_by_itself
            the_second_write_of_a_batch_to_one_device_conflicts
            revisions_count_commits
            no_update_is_lost_between_racing_writers
            pages_list_every_device_once_in_order
            a_listing_of_a_product_is_just_that
            what_is_erased_never_was
            what_is_due_is_found_earliest_first
            what_is_due_is_what_the_last_record_says
            a_write_that_conflicts_makes_nothing_due
            what_is_due_survives_a_reopen
            racing_writers_and_searches_lose_nothing_due
            a_closed_store_says_so
        }
    };
}

macro_rules! session_contract {
    ($module:ident: $kind:ty) => {
        laws! { $module, session_laws, $kind,
            sessions_are_loaded_as_saved
            sessions_survive_a_reopen
            forgetting_takes_the_messages_along
            a_message_of_an_unknown_client_is_not_kept
            keys_keep_their_order_and_replace
            nasty_clients_do_not_mix
            one_session_is_found
            closed_sessions_say_so
        }
    };
}

/// Laws of session stores that several gateways use.
macro_rules! gateways_contract {
    ($module:ident: $kind:ty) => {
        laws! { $module, session_laws, $kind,
            a_session_of_another_gateway_is_left_alone
            a_session_is_handed_over_as_a_whole
        }
    };
}

queue_contract! { memory_queue: crate::kind::InMemory }
queue_contract! { embedded_queue: crate::kind::OnDisk }
queue_contract! { faulty_queue: crate::kind::WithoutFaults }
queue_contract! { nats_queue: crate::kind::OnNats }

exact_queue_contract! { memory_queue_exactly: crate::kind::InMemory }
exact_queue_contract! { embedded_queue_exactly: crate::kind::OnDisk }
exact_queue_contract! { faulty_queue_exactly: crate::kind::WithoutFaults }

reader_contract! { memory_readers: crate::kind::InMemory }
reader_contract! { faulty_readers: crate::kind::WithoutFaults }
reader_contract! { nats_readers: crate::kind::OnNats }

store_contract! { memory_store: crate::kind::InMemory }
store_contract! { embedded_store: crate::kind::OnDisk }
store_contract! { faulty_store: crate::kind::WithoutFaults }
store_contract! { redis_store: crate::kind::OnRedis }
store_contract! { redis_cluster_store: crate::kind::OnRedisCluster }

session_contract! { memory_sessions: crate::kind::InMemory }
session_contract! { embedded_sessions: crate::kind::OnDisk }
session_contract! { faulty_sessions: crate::kind::WithoutFaults }
session_contract! { redis_sessions: crate::kind::OnRedis }
session_contract! { redis_cluster_sessions: crate::kind::OnRedisCluster }

gateways_contract! { memory_gateways: crate::kind::InMemory }
gateways_contract! { faulty_gateways: crate::kind::WithoutFaults }
gateways_contract! { redis_gateways: crate::kind::OnRedis }
gateways_contract! { redis_cluster_gateways: crate::kind::OnRedisCluster }
