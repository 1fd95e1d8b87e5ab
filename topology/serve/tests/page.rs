//! The page in a browser: a song is asked for with the keyboard, sounds while it is written, is cancelled, and is found
//! in the history after a restart.

mod support;

use heartstream_serve::SecondsPerLine;
use serde_json::json;
use support::{Running, browser::Browser, built};

/// What WebDriver types for the Enter key.
const ENTER: &str = "\u{e007}";

#[test]
fn a_song_is_asked_for_sounds_while_it_is_written_is_cancelled_and_is_found_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let engine = built(heartstream_demo::checkpoint());
    let card = SecondsPerLine::new(1.0, 3.0, 9.0);
    let server = Running::with(engine.clone(), folder.path(), |options| options.seconds_per_line = Some(card));
    let browser = Browser::start();
    browser.open(&server.url("/"));
    browser.until("return document.querySelectorAll('#tag-groups button').length > 20");
    let fold =
        |open: bool| browser.eval(&format!("document.querySelectorAll('details').forEach((d) => d.open = {open})"));
    fold(true); // what is folded away has no label
    let controls = "#order button, #order input, #order select, #order textarea, #search";
    assert!(browser.labels(controls).iter().all(|label| !label.is_empty()), "{:?}", browser.labels(controls));
    fold(false);
    browser.until("return document.getElementById('check').textContent.includes('probably')");

    // The demo model writes 200 s for half a minute at the least: long enough for all that follows.
    browser.eval("document.getElementById('seconds').value = 200");
    browser.type_into("#seed", &format!("7{ENTER}"));
    browser.until("return document.querySelector('.song')");
    let sounding = "const audio = document.querySelector('.song audio'); return audio.currentTime > 0 && !audio.paused && \
                    document.querySelector('.song').dataset.state";
    assert_eq!(browser.until(sounding), "writing", "it sounds while it is written");
    let late = browser.until("return document.querySelector('.song').dataset.sound");
    println!("the browser plays {late} ms after the event of the first sound");
    // Something is drawn: more than the ground.
    browser.until(
        "const canvas = document.querySelector('.song canvas'); const pixels = canvas.getContext('2d').getImageData(0, 0, \
         canvas.width, canvas.height).data; return pixels.filter((value, place) => place % 4 === 3 && value).length > 200",
    );
    assert!(
        browser.labels(".song audio, .song canvas, .song button:not([hidden])").iter().all(|label| !label.is_empty())
    );

    browser.click(".song .pause");
    browser.until("return document.querySelector('.song').dataset.state === 'paused'");
    browser.click(".song .resume");
    browser.until("return document.querySelector('.song').dataset.state === 'writing'");
    browser.click(".song .cancel");
    browser.until("return document.querySelector('.song').dataset.state === 'cancelled'");
    let id = browser.eval("return document.querySelector('.song').dataset.id");
    assert_eq!(server.song(id.as_str().unwrap())["seed"], "7");
    browser.open("about:blank"); // a page complains of a server that is gone
    server.stop();

    let server = Running::with(engine, folder.path(), |_| ());
    browser.resize(380, 700);
    browser.open(&server.url("/"));
    browser.type_into("#search", "kettle");
    browser.until("return document.getElementById('count').textContent === '1 song'");
    assert_eq!(browser.eval("return document.querySelector('.song').dataset.id"), id);
    let overflow = browser.eval("return document.documentElement.scrollWidth - document.documentElement.clientWidth");
    assert_eq!(overflow, json!(0), "nothing is wider than a phone");
    browser.click(".song .repeat");
    assert_eq!(browser.eval("return document.getElementById('seed').value"), "7");
    let complaints: Vec<String> = browser.complaints();
    assert!(complaints.is_empty(), "{complaints:?}");
}

#[test]
fn a_page_with_a_token_asks_for_it_and_then_knows_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(folder.path(), |options| options.token = Some("a-secret-of-many-letters".to_owned()));
    let browser = Browser::start();
    browser.open(&server.url("/"));
    browser.until("return document.getElementById('login').open");
    browser.type_into("#token", &format!("a-secret-of-many-letters{ENTER}"));
    browser.until("return document.getElementById('model').textContent.startsWith('model demo')");
    browser.open(&server.url("/"));
    browser.until("return document.getElementById('model').textContent.startsWith('model demo')");
    assert_eq!(browser.eval("return document.getElementById('login').open"), false);
}

#[test]
fn a_song_that_is_over_is_as_long_as_it_says_in_the_page_and_in_an_audio_element_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(folder.path(), |_| ());
    let browser = Browser::start();
    for format in ["wav", "flac", "opus"] {
        let ordered = server.order(3.0, json!({ "format": format }));
        let id = ordered["id"].as_str().unwrap();
        server.wait_for(id, "done");
        let seconds = server.song(id)["seconds"].as_f64().unwrap();
        browser.open(&server.url("/"));
        let as_long =
            |audio: &str| format!("const audio = {audio}; return Math.abs(audio.duration - {seconds}) < 0.05");
        browser.until(&as_long("document.querySelector('.song audio') ?? {}"));
        browser.eval(&format!("window.own = new Audio('/v1/songs/{id}/audio'); window.own.preload = 'metadata'"));
        browser.until(&as_long("window.own"));
    }
    assert!(browser.complaints().is_empty(), "{:?}", browser.complaints());
}

#[test]
fn takes_stand_side_by_side_and_each_is_drawn_while_it_is_written_in_any_format() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(folder.path(), |options| options.limits.songs = 3);
    let browser = Browser::start();
    for format in ["wav-s24", "flac", "opus"] {
        browser.open(&server.url("/"));
        browser.until("return document.querySelectorAll('#format option').length > 3");
        // A seed that is no number of JavaScript.
        browser.eval(&format!(
            "for (const [name, value] of Object.entries({{ takes: 3, format: '{format}', seconds: 200, \
             seed: '9007199254740993' }})) document.getElementById(name).value = value"
        ));
        browser.type_into("#seed", ENTER);
        browser.until(
            "return document.querySelectorAll('.takes:first-child .song[data-state=writing] canvas:not([hidden])').length \
             === 3",
        );
        let names =
            browser.eval("return [...document.querySelectorAll('.takes:first-child .take')].map((e) => e.textContent)");
        assert_eq!(names, json!(["Take 1 of 3", "Take 2 of 3", "Take 3 of 3"]));
        let ids =
            browser.eval("return [...document.querySelectorAll('.takes:first-child .song')].map((e) => e.dataset.id)");
        let ids: Vec<&str> = ids.as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
        let seeds: Vec<String> = ids.iter().map(|id| server.song(id)["seed"].as_str().unwrap().to_owned()).collect();
        assert_eq!(seeds, ["9007199254740993", "9007199254740994", "9007199254740995"]);
        for id in ids {
            server.delete(&format!("/v1/songs/{id}"));
        }
    }
    assert!(browser.complaints().is_empty(), "{:?}", browser.complaints());
}

#[test]
fn a_song_that_is_used_again_is_the_same_order() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(folder.path(), |_| ());
    let first = server.order(1.0, json!({ "seed": u64::MAX, "flow_steps": 3, "temperature": 0.7 }));
    server.wait_for(first["id"].as_str().unwrap(), "done");
    let browser = Browser::start();
    browser.open(&server.url("/"));
    browser.until("return document.querySelector('.song')");
    browser.click(".song .repeat");
    browser.click("#sing");
    browser.until("return document.querySelectorAll('.song').length === 2");
    let id = browser.eval("return document.querySelector('.song').dataset.id");
    let [again, first] = [id.as_str().unwrap(), first["id"].as_str().unwrap()].map(|id| server.song(id));
    for field in ["seed", "tags", "lyrics", "max_seconds", "options", "format"] {
        assert_eq!(again[field], first[field], "{field}");
    }
}
