//! The page in a browser: a song is asked for with the keyboard, sounds while it is written, is cancelled, and is found
//! in the history after a restart.

mod support;

use serde_json::json;
use support::{Running, browser::Browser, built};

/// What WebDriver types for the Enter key.
const ENTER: &str = "\u{e007}";

#[test]
fn a_song_is_asked_for_sounds_while_it_is_written_is_cancelled_and_is_found_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let engine = built(heartstream_demo::checkpoint());
    let server = Running::with(engine.clone(), folder.path(), |_| ());
    let browser = Browser::start();
    browser.open(&server.url("/"));
    browser.until("return document.querySelectorAll('#tag-groups button').length > 20");
    browser.click("summary"); // what is folded away has no label
    let controls = "#order button, #order input, #order select, #order textarea, #search";
    assert!(browser.labels(controls).iter().all(|label| !label.is_empty()), "{:?}", browser.labels(controls));
    browser.click("summary");

    // The demo model writes 200 s for half a minute at the least: long enough for all that follows.
    browser.eval("document.getElementById('seconds').value = 200");
    browser.type_into("#seed", &format!("7{ENTER}"));
    browser.until("return document.querySelector('.song')");
    let sounding = "const audio = document.querySelector('.song audio'); return audio.currentTime > 0 && !audio.paused && \
                    document.querySelector('.song').dataset.state";
    assert_eq!(browser.until(sounding), "writing", "it sounds while it is written");
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
