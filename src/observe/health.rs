//! The JSON body of `/healthz` and `/readyz`, and the parts of it that the status page shows as well.

use std::time::SystemTime;

use super::connection_status::{LastError, State};
use super::metrics::Metrics;
use crate::calendar::UtcTime;
use crate::clock;
use crate::json_text::{self, Object, Value};

/// The body, the same for both paths.
pub(super) fn body(metrics: &Metrics) -> String {
    let (source, destination) = (metrics.source.state(), metrics.destination.state());
    let mut body = json_text::object(|object| {
        add_activity(object, metrics);
        let errors = [source.last_error(), destination.last_error()];
        let newest = errors.into_iter().flatten().max_by_key(|e| e.time);
        write_error(object.key("last_error"), newest);
        for (name, connection) in [("source", &source), ("destination", &destination)] {
            object.key(name).object(|object| {
                add_connection(object, connection);
                write_error(object.key("last_error"), connection.last_error());
            });
        }
    });
    body.push('\n');
    body
}

/// Adds the activity and the lag. `status`, `replication` and `storage` are the names of the Zig program.
pub(super) fn add_activity(object: &mut Object<'_>, metrics: &Metrics) {
    let (activity, since) = metrics.activity();
    let status = if metrics.is_ready() {
        "ok"
    } else {
        "unhealthy"
    };
    object.key("state").string(activity.name());
    object.key("since").display(utc(since));
    object.key("status").string(status);
    let connected = [&metrics.source, &metrics.destination].map(|c| c.state().connected);
    object.key("replication").boolean(connected[0]);
    object.key("storage").boolean(connected[1]);
    object.key("lag_bytes").number(metrics.lag_bytes());
    object.key("lag_seconds").seconds(metrics.lag_seconds());
}

/// Adds whether a connection is up, and since when.
pub(super) fn add_connection(object: &mut Object<'_>, connection: &State) {
    object.key("connected").boolean(connection.connected);
    object.key("since").display(utc(connection.since));
}

/// Writes an error as an object, or `null`.
pub(super) fn write_error(place: Value<'_>, error: Option<&LastError>) {
    match error {
        None => place.null(),
        Some(error) => place.object(|object| {
            object.key("time").display(utc(error.time));
            object.key("times").number(error.times);
            object.key("message").string(&error.message);
        }),
    }
}

pub(super) fn utc(time: SystemTime) -> UtcTime {
    UtcTime(clock::since_epoch(time))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn read(metrics: &Metrics) -> serde_json::Value {
        serde_json::from_str(&body(metrics)).unwrap()
    }

    #[test]
    fn the_body_names_the_newest_error_and_that_of_each_connection() {
        let metrics = Metrics::default();
        metrics.source.up();
        metrics.destination.up();
        metrics.source.note(&"an older one");
        metrics.destination.down(&"connection \"refused\"");
        let body = read(&metrics);
        assert_eq!(body["state"], "destination away");
        assert_eq!(body["destination"]["connected"], false);
        assert_eq!(body["status"], "unhealthy");
        assert_eq!(body["replication"], true);
        assert_eq!(body["storage"], false);
        let error = &body["destination"]["last_error"];
        assert_eq!(error["message"], "connection \"refused\"");
        assert_eq!(&body["last_error"], error);
        assert_eq!(body["since"], body["destination"]["since"]);
        assert_eq!(body["source"]["last_error"]["message"], "an older one");
        metrics.destination.up();
        let body = read(&metrics);
        assert_eq!(body["status"], "ok");
        assert_eq!(body["storage"], true);
    }
}
