//! heartstream-serve: songs that are heard while they are written, over HTTP.
//!
//! The server is built on the public API of [`heartstream`] alone, so that it is an example of it, too.
//!
//! ```no_run
//! use heartstream::{Checkpoint, Heartstream};
//! use heartstream_serve::{ServeOptions, Server};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let engine = Heartstream::builder(Checkpoint::open("models/heartmula")?).build().await?;
//! let options = ServeOptions::new("127.0.0.1:7878".parse()?, "songs".into());
//! let server = Server::bind(engine, options).await?;
//! println!("listening on http://{}", server.address());
//! server.run(std::future::pending()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Layout
//! - `jukebox`: the queue, and the songs that are written
//! - `growing_file`: what listeners read, at their own pace
//! - `library`: the songs on disk
//! - `routes`: the answers; `guard`: who gets any; `page`: what a browser shows
//! - [`Server`]: the connections

mod app;
mod body;
mod client;
mod error;
mod forecast;
mod growing_file;
mod guard;
mod jukebox;
mod library;
mod library_id;
mod live_song;
mod metrics;
mod options;
mod order;
mod page;
mod patient_stream;
mod routes;
mod server;
mod views;
mod whole_number;

pub use error::ServeError;
pub use forecast::SecondsPerLine;
pub use options::{Limits, ServeOptions, known_tags};
pub use server::Server;
