//! Promise: of all ways to draft, the one is chosen that pays on this machine with this song; and a song that drafting
//! cannot help, or that turns against it, is less than two hundredths slower for its having been tried.
//!
//! No clock is read: a machine says how long each round takes, a song which drafts are right, and the policy decides.
//! Plain decoding takes a second for a frame.

use heartstream_models::speculation::{Choice, Policy, RoundOutcome};

/// What may be lost.
const MOST: f64 = 1.02;

/// A machine on which rounds take as long as they are told to.
type Machine = fn(Choice) -> f64;

/// Which drafts are right: for a frame of the song, what the round before it did, and what is settled on.
type Song<'a> = &'a mut dyn FnMut(Moment) -> bool;

/// What a song may use.
#[derive(Clone, Copy)]
struct Moment {
    /// The frame.
    frame: u64,
    /// What the round does, and what the policy does where it tries nothing else.
    choice: Choice,
    settled: Choice,
}

/// Seconds and frames of a run.
#[derive(Default)]
struct Run {
    seconds: f64,
    frames: u64,
    /// The most that the run had lost at any time, as times of plain decoding; from the second of music on.
    worst: f64,
    /// Rounds that prepared drafts.
    prefetched: u32,
}

/// Runs `rounds` rounds.
fn run(policy: &mut Policy, machine: Machine, song: Song<'_>, rounds: u32) -> Run {
    let mut run = Run::default();
    for _ in 0..rounds {
        let (choice, settled) = (policy.choose(), policy.settled());
        let drafted = choice.frames.unwrap_or(0);
        let right = |place: &usize| song(Moment { frame: run.frames + *place as u64, choice, settled });
        let accepted = (0..drafted).take_while(right).count();
        let outcome =
            RoundOutcome { frames: vec![Vec::new(); accepted + 1], drafted, accepted, ..RoundOutcome::default() };
        let time = machine(choice);
        policy.observe(&outcome, time);
        run.seconds += time;
        run.frames += accepted as u64 + 1;
        run.prefetched += u32::from(choice.prefetch);
        run.worst = run.worst.max(run.seconds / run.frames as f64);
    }
    run
}

/// A song whose drafts are right in this share of places, evenly spread.
fn share(share: f64) -> impl FnMut(Moment) -> bool {
    let mut phase = 0.0;
    move |_| {
        phase = (phase + 0.618_033_988_75) % 1.0;
        phase < share
    }
}

fn policy() -> Policy {
    Policy::new(&[1, 2, 4, 8], false, 1)
}

fn drafted(choice: Choice) -> f64 {
    choice.frames.unwrap_or(0) as f64
}

#[test]
fn where_drafting_only_costs_decoding_stays_plain_and_is_less_than_two_hundredths_slower() {
    let machines: [Machine; 3] = [
        |choice| if choice.frames.is_some() { 1.05 } else { 1.0 },
        |choice| choice.frames.map_or(1.0, |frames| 1.5 + frames as f64),
        |choice| choice.frames.map_or(1.0, |frames| 1.9 * (frames + 1) as f64),
    ];
    for (number, machine) in machines.into_iter().enumerate() {
        for rounds in [50, 200, 1000, 3000] {
            let mut policy = policy();
            let run = run(&mut policy, machine, &mut share(0.0), rounds);
            assert!(run.worst < MOST, "{} on machine {number}, in {rounds} rounds", run.worst);
            assert_eq!(policy.settled(), Choice::PLAIN);
        }
    }
}

#[test]
fn where_drafts_are_right_many_frames_are_drafted() {
    let machine: Machine = |choice| choice.frames.map_or(1.0, |frames| 0.9 + 0.05 * frames as f64);
    let mut policy = policy();
    run(&mut policy, machine, &mut share(0.9), 600);
    assert_eq!(policy.settled().frames, Some(8));
    let run = run(&mut policy, machine, &mut share(0.9), 300);
    assert!(run.frames as f64 / run.seconds > 3.0, "{} frames in {} s", run.frames, run.seconds);
}

#[test]
fn where_only_guessing_codes_pays_no_frames_are_drafted() {
    let machine: Machine = |choice| match choice.frames {
        None => 1.0,
        Some(_) if choice.work.pass > 0 => 0.8 + 0.3 * drafted(choice),
        Some(_) => 1.0 + 0.3 * drafted(choice),
    };
    let mut policy = policy();
    run(&mut policy, machine, &mut share(0.1), 800);
    assert_eq!(policy.settled().frames, Some(0));
}

#[test]
fn when_drafts_turn_bad_decoding_turns_plain_and_back() {
    let machine: Machine = |choice| choice.frames.map_or(1.0, |frames| 1.1 + 0.2 * frames as f64);
    let mut policy = policy();
    run(&mut policy, machine, &mut share(0.8), 600);
    assert!(policy.settled().frames > Some(0));
    let bad = run(&mut policy, machine, &mut share(0.0), 400);
    assert!(bad.seconds < 1.05 * bad.frames as f64, "{} s for {} frames", bad.seconds, bad.frames);
    run(&mut policy, machine, &mut share(0.0), 2000);
    assert_eq!(policy.settled(), Choice::PLAIN);
    run(&mut policy, machine, &mut share(0.8), 6000);
    assert!(policy.settled().frames > Some(0), "it has looked again");
}

/// A machine on which drafts cost half of what a round takes, unless they were prepared meanwhile.
fn dear_drafts(choice: Choice) -> f64 {
    choice.frames.map_or(1.0, |_| 1.1 + if choice.prefetch { 0.0 } else { 0.4 })
}

/// A machine on which a prefetcher is in the way.
fn in_the_way(choice: Choice) -> f64 {
    choice.frames.map_or(1.0, |_| 1.1 + if choice.prefetch { 0.4 } else { 0.0 })
}

#[test]
fn drafts_are_prepared_meanwhile_where_that_pays_and_not_where_it_is_in_the_way() {
    for (machine, pays) in [(dear_drafts as Machine, true), (in_the_way, false)] {
        let mut policy = policy();
        policy.allow_prefetch();
        run(&mut policy, machine, &mut share(0.8), 1500);
        assert!(policy.settled().frames > Some(0));
        let run = run(&mut policy, machine, &mut share(0.8), 1000);
        assert_eq!(policy.settled().prefetch, pays);
        assert!((run.prefetched > 900) == pays, "{} of 1000 rounds", run.prefetched);
    }
    let mut policy = policy();
    let run = run(&mut policy, dear_drafts, &mut share(0.8), 1000);
    assert_eq!(run.prefetched, 0, "there is no prefetcher");
}

#[test]
fn preparing_drafts_is_given_up_when_it_stops_to_pay_and_tried_again_when_it_may_pay_again() {
    let mut policy = policy();
    policy.allow_prefetch();
    run(&mut policy, dear_drafts, &mut share(0.8), 1500);
    assert!(policy.settled().prefetch);
    run(&mut policy, in_the_way, &mut share(0.8), 3000);
    assert!(!policy.settled().prefetch && policy.settled().frames > Some(0));
    run(&mut policy, dear_drafts, &mut share(0.8), 3000);
    assert!(policy.settled().prefetch, "it has looked again");
}

#[test]
fn prepared_drafts_that_are_worse_than_others_are_not_worth_their_time() {
    // Rounds with prepared drafts are a little shorter, but only one draft in ten is right in them.
    let machine: Machine = |choice| choice.frames.map_or(1.0, |_| if choice.prefetch { 1.05 } else { 1.1 });
    let (mut good, mut bad) = (share(0.8), share(0.1));
    let mut policy = policy();
    policy.allow_prefetch();
    let mut song = |moment: Moment| if moment.choice.prefetch { bad(moment) } else { good(moment) };
    run(&mut policy, machine, &mut song, 3000);
    assert!(policy.settled().frames > Some(0) && !policy.settled().prefetch);
}

#[test]
fn of_several_teams_of_drafters_the_one_is_asked_of_which_most_frames_a_second_come() {
    // One of them is right in eight of ten; the first, who costs nothing, in three if it is another, the others never.
    let machine: Machine =
        |choice| choice.frames.map_or(1.0, |frames| 1.0 + 0.1 * frames as f64 + [0.0, 0.05, 0.1][choice.exclusion]);
    for best in 0..3 {
        let mut shares = [share(0.3), share(0.0), share(0.0)];
        shares[best] = share(0.8);
        let mut song = |moment: Moment| shares[moment.choice.exclusion](moment);
        let mut policy = Policy::new(&[1, 2, 4, 8], false, 3);
        let run = run(&mut policy, machine, &mut song, 6000);
        assert!(run.worst < MOST, "exclusion {best}: {}", run.worst);
        assert_eq!((policy.settled().exclusion, policy.settled().frames > Some(0)), (best, true));
    }
}

/// Machines on which drafting can pay: wide rounds are nearly free, cost something, cost a lot.
const MACHINES: [Machine; 4] = [
    |choice| choice.frames.map_or(1.0, |frames| 1.0 + 0.05 * frames as f64),
    |choice| choice.frames.map_or(1.0, |frames| 1.1 + 0.2 * frames as f64),
    |choice| choice.frames.map_or(1.0, |frames| 1.2 + 0.5 * frames as f64),
    |choice| choice.frames.map_or(1.0, |frames| 0.9 + 0.6 * frames as f64 - if choice.prefetch { 0.1 } else { 0.0 }),
];

fn assert_never_much_slower(what: &str, rounds: u32, mut song: impl FnMut(u32) -> Box<dyn FnMut(Moment) -> bool>) {
    for (number, machine) in MACHINES.into_iter().enumerate() {
        for phase in 0..4 {
            let mut policy = Policy::new(&[1, 2, 4, 8], false, 1 + phase as usize % 3);
            policy.allow_prefetch();
            let run = run(&mut policy, machine, &mut song(phase), rounds);
            assert!(run.worst < MOST, "{what}, phase {phase}, machine {number}: {}", run.worst);
        }
    }
}

#[test]
fn drafts_that_are_right_only_until_they_are_relied_on_make_no_song_two_hundredths_slower() {
    // It reads the policy's mind: right in trials, wrong as soon as something is settled on.
    assert_never_much_slower("a mind reader", 8000, |_| Box::new(|moment| moment.settled == Choice::PLAIN));
    // Right in trials, and wrong in whatever is settled on, whichever that is.
    assert_never_much_slower("a mind reader of trials", 8000, |_| {
        Box::new(|moment| moment.settled.frames != moment.choice.frames)
    });
}

#[test]
fn drafts_that_turn_at_the_time_of_the_policys_own_looks_make_no_song_two_hundredths_slower() {
    for period in [3, 8, 13, 64, 100, 128, 256, 500, 512, 520, 600, 1024, 3000] {
        assert_never_much_slower(&format!("right and wrong for {period} frames in turn"), 6000, |phase| {
            let first = u64::from(phase) * period / 4;
            Box::new(move |moment| ((moment.frame + first) / period).is_multiple_of(2))
        });
        // Right for long enough to be relied on, then wrong for nearly all of the time.
        assert_never_much_slower(&format!("right for 40 frames every {period}"), 6000, |phase| {
            let first = u64::from(phase) * 10;
            Box::new(move |moment| (moment.frame + first) % period.max(80) < 40)
        });
    }
}

#[test]
fn a_song_that_turns_is_worth_more_than_it_costs_where_its_good_half_is_long() {
    let machine: Machine = |choice| choice.frames.map_or(1.0, |frames| 1.0 + 0.05 * frames as f64);
    let mut policy = policy();
    let mut song = |moment: Moment| (moment.frame / 4000).is_multiple_of(2);
    let run = run(&mut policy, machine, &mut song, 12_000);
    assert!(run.seconds < 0.75 * run.frames as f64, "{} s for {} frames", run.seconds, run.frames);
}

#[test]
fn another_song_is_not_slower_for_what_was_learned_in_a_better_one() {
    for (number, machine) in MACHINES.into_iter().enumerate() {
        let mut policy = policy();
        run(&mut policy, machine, &mut share(0.95), 2000);
        policy.new_song();
        // From 24 s on: what is bet on what was learned is a frame's time.
        let run = run(&mut policy, machine, &mut share(0.0), 300);
        assert!(run.seconds < MOST * run.frames as f64, "machine {number}: {} s, {} frames", run.seconds, run.frames);
    }
}

#[test]
fn a_round_that_something_else_held_up_changes_nothing() {
    let machine: Machine = |choice| choice.frames.map_or(1.0, |frames| 1.1 + 0.2 * frames as f64);
    let mut policy = policy();
    run(&mut policy, machine, &mut share(0.8), 1500);
    let settled = policy.settled();
    assert!(settled.frames > Some(0));
    run(&mut policy, |_| 500.0, &mut share(1.0), 1);
    run(&mut policy, machine, &mut share(0.8), 64);
    assert_eq!(policy.settled().frames > Some(0), settled.frames > Some(0));
}
