//! Follows a stream with reqwest-eventsource and prints each event as a line of JSON. It connects again by itself until an
//! answer is no stream: 204.
use futures_util::StreamExt;
use reqwest_eventsource::{Error, Event, EventSource};
use serde_json::json;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let url = std::env::args().nth(1).expect("the URL of a stream");
    let mut source = EventSource::get(url);
    while let Some(event) = source.next().await {
        match event {
            Ok(Event::Open) => {}
            Ok(Event::Message(event)) => println!("{}", json!({"type": event.event, "data": event.data, "id": event.id})),
            Err(Error::InvalidStatusCode(status, _)) if status == 204 => return,
            Err(Error::StreamEnded | Error::Transport(_)) => {}
            Err(error) => {
                eprintln!("{error:?}");
                std::process::exit(1);
            }
        }
    }
    std::process::exit(1);
}
