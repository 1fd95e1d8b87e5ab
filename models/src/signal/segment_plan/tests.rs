//! Tests of segment plans: windows, edges and deadlines.

use super::*;

fn plans() -> Vec<SegmentPlan> {
    let mut plans = vec![SegmentPlan::reference(ReferenceWindows::default())];
    for first in [1, 2, 7, 48, 93, 371, 372] {
        for look_ahead in [0, 2, 8, 32, 52] {
            plans.push(SegmentPlan::chained(first, look_ahead).expect("in range"));
        }
        plans.push(SegmentPlan::parallel(first).expect("in range"));
    }
    plans
}

#[test]
fn windows_cover_every_frame_of_a_growing_plan_exactly_to_the_end() {
    for plan in plans().into_iter().skip(1) {
        for frames in (1..600).chain([777, 1500, 3000]) {
            let windows = plan.windows(frames);
            let mut end = 0;
            for (index, window) in windows.iter().enumerate() {
                assert_eq!(window.index, index);
                assert_eq!(window.first, end - window.known - window.fade_in, "{plan:?} {frames} {window:?}");
                // A parallel window is computed once more where the song ends with it.
                let again = window.run_out > 0 && window.fade_in == window.frames;
                assert!(window.frames <= 372 && (window.played_end() > end || again), "{plan:?} {frames} {window:?}");
                assert_eq!(window.lead_in > 0, index == 0, "{plan:?} {frames} {window:?}");
                // The shortest windows have no look-ahead, and a song may end with one.
                let ends = index + 1 == windows.len() && (plan.look_ahead() > 1 && end > 8 || !plan.is_continuous());
                assert!(window.run_out > 0 || !ends, "{plan:?} {frames} {window:?}");
                end = window.played_end();
            }
            assert_eq!(end, frames, "{plan:?}");
            assert!(windows.iter().all(|window| window.end() <= frames), "{plan:?} {frames}");
        }
    }
}

#[test]
fn what_a_window_is_given_the_one_before_has() {
    for plan in plans() {
        let windows = plan.windows(2345);
        for pair in windows.windows(2) {
            assert!(pair[1].known <= pair[0].frames - pair[0].look_ahead && pair[1].known <= plan.longest_overlap());
            assert!(pair[1].fade_in == 0 || pair[1].fade_in == pair[0].fade_out, "{plan:?} {pair:?}");
            // A window's beginning and end are faded at different places.
            assert!(pair[0].fade_in + pair[0].fade_out <= pair[0].frames || pair[1].index + 1 == windows.len());
        }
    }
}

#[test]
fn windows_start_small_and_double_until_they_have_the_references_length() {
    let lengths: Vec<usize> =
        SegmentPlan::chained(48, 8).expect("in range").windows(2000).iter().map(|w| w.frames).collect();
    assert_eq!(lengths[..5], [48, 96, 192, 372, 372]);
    let lengths: Vec<usize> =
        SegmentPlan::parallel(93).expect("in range").windows(2000).iter().map(|w| w.frames).collect();
    assert_eq!(lengths[..4], [93, 186, 372, 372]);
}

#[test]
fn the_look_ahead_is_computed_again_by_the_next_window_and_only_the_last_plays_to_its_end() {
    let plan = SegmentPlan::chained(48, 8).expect("in range");
    let windows = plan.windows(200);
    let of = |window: &Window| (window.first, window.frames, window.known, window.look_ahead);
    assert_eq!(windows.iter().map(of).collect::<Vec<_>>(), [(0, 48, 0, 8), (0, 96, 40, 8), (36, 164, 52, 0)]);
    // A song that ends with a complete window has one more, for the look-ahead of that one.
    let windows = plan.windows(96);
    assert_eq!(windows.iter().map(of).collect::<Vec<_>>(), [(0, 48, 0, 8), (0, 96, 40, 8), (36, 60, 52, 0)]);
    let least = SegmentPlan::chained(1, 8).expect("in range").windows(40);
    assert!(least.windows(2).all(|pair| pair[0].look_ahead < pair[0].frames - pair[0].known), "{least:?}");
}

#[test]
fn before_and_behind_a_song_its_first_and_last_frame_are_computed_over_and_over() {
    for plan in plans().into_iter().skip(1) {
        for frames in [1, 5, 48, 200] {
            let windows = plan.windows(frames);
            let sources = |window: &Window| plan.sources(window, frames).collect::<Vec<_>>();
            let (first, last) = (sources(&windows[0]), sources(&windows[windows.len() - 1]));
            assert!(first[..EDGE].iter().all(|frame| *frame == 0) && first[EDGE] == 0, "{plan:?} {frames}");
            // The shortest windows have no look-ahead, and a song may end with one.
            let ends = windows[windows.len() - 1].run_out == 0
                || last[last.len() - EDGE - 1..].iter().all(|frame| *frame == frames - 1);
            assert!(ends, "{plan:?} {frames}");
            assert!(windows.iter().all(|window| sources(window).len() == window.computed()));
        }
    }
    let usual = SegmentPlan::chained(48, 12).expect("in range");
    assert!((1..800).all(|frames| usual.windows(frames).last().is_some_and(|last| last.run_out == EDGE)));
}

#[test]
fn a_complete_window_is_never_taken_back_by_a_longer_song() {
    for plan in plans() {
        let long = plan.windows(2000);
        for frames in 1..1200 {
            let complete = long.iter().take_while(|window| window.end() <= frames);
            for (window, expected) in plan.windows(frames).iter().zip(complete) {
                assert_eq!(window, expected, "{plan:?} {frames}");
            }
        }
    }
}

#[test]
fn a_first_window_of_nothing_or_too_much_is_refused() {
    for first in [0, 373, usize::MAX] {
        assert!(SegmentPlan::chained(first, 8).is_err() && SegmentPlan::parallel(first).is_err());
    }
    assert!(SegmentPlan::chained(48, 53).is_err());
}

#[test]
fn the_first_window_is_the_longest_that_meets_the_deadline() {
    let rates = Rates { prompt: 1.0, frame: 0.1, flow: 0.05, sound: 0.5 };
    let longest = longest_first_window(10.0, rates);
    let time = |frames: usize| {
        rates.prompt + rates.sound + EDGE as f64 * rates.flow + frames as f64 * (rates.frame + rates.flow)
    };
    assert!(time(longest) <= 10.0 && time(longest + 1) > 10.0, "{longest}");
    assert_eq!(longest_first_window(0.1, rates), SHORTEST_FIRST_WINDOW);
    assert!(longest_first_window(1e9, rates) > 372);
    assert_eq!(longest_first_window(1.0, Rates { prompt: 1.0, frame: 0.0, flow: 0.0, sound: 0.0 }), usize::MAX);
}
