//! Controls: in a world that breaks a promise of the ports, the judge must find something wrong.

use gnomon_host::port::Stream;

use crate::rig::Broken;
use crate::run::live;
use crate::telemetry;

/// Seeds within which a broken promise must be noticed.
const SEEDS_MAX: u64 = 100;

fn is_noticed(broken: Broken) {
    let telemetry = telemetry();
    let noticed = (0..SEEDS_MAX).find_map(|seed| {
        let wrong = live(&telemetry, seed, broken, &mut None).err()?;
        Some((seed, wrong))
    });
    let (seed, wrong) = noticed.unwrap_or_else(|| panic!("nothing noticed of {broken:?}"));
    println!("{broken:?} shows at seed {seed}: {wrong}");
}

#[test]
fn a_queue_that_takes_a_message_twice_is_noticed() {
    is_noticed(Broken::ForgetsIds(Stream::Telemetry));
}

#[test]
fn an_effect_that_is_sent_twice_is_noticed() {
    is_noticed(Broken::ForgetsIds(Stream::Downlink));
}

#[test]
fn a_dead_letter_that_is_written_twice_is_noticed() {
    is_noticed(Broken::ForgetsIds(Stream::Dead));
}

#[test]
fn an_acknowledgement_before_the_effects_are_sent_is_noticed() {
    is_noticed(Broken::AcknowledgesAtDelivery);
}

#[test]
fn a_message_lost_after_its_acknowledgement_is_noticed() {
    is_noticed(Broken::LosesAppends(Stream::Telemetry));
}

#[test]
fn an_effect_that_is_lost_is_noticed() {
    is_noticed(Broken::LosesAppends(Stream::Downlink));
}

#[test]
fn a_dead_letter_that_is_lost_is_noticed() {
    is_noticed(Broken::LosesAppends(Stream::Dead));
}

#[test]
fn a_write_over_a_newer_record_is_noticed() {
    is_noticed(Broken::WritesOverOthers);
}

#[test]
fn a_write_that_is_lost_is_noticed() {
    is_noticed(Broken::LosesCommits);
}

#[test]
fn messages_of_one_device_in_another_order_are_noticed() {
    is_noticed(Broken::SwapsNeighbours);
}
