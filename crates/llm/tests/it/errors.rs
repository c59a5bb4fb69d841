//! Errors of providers, and ours in the shape of each client.

use crate::world::{CLIENTS, Snapshots, fixtures, pretty};
use llm::{ApiError, ErrorKind, Format, parse_error, render_error, render_stream_error};

#[test]
fn files() {
    let mut snapshots = Snapshots::new("errors");
    for fixture in fixtures("errors") {
        // The name begins with the status.
        let status = fixture.name.split('_').next().unwrap().parse().unwrap();
        let error = parse_error(fixture.format, status, &fixture.body);
        for target in CLIENTS {
            let head = format!("{} {:?} {}\n", error.status, error.kind, error.code);
            snapshots.check(&fixture, target.as_str(), &(head + &pretty(&render_error(*target, &error)) + "\n"));
        }
    }
    snapshots.finish();
}

#[test]
fn a_rendered_error_is_read_as_the_same_kind() {
    let kinds = [
        (400, ErrorKind::InvalidRequest),
        (401, ErrorKind::Authentication),
        (403, ErrorKind::Permission),
        (404, ErrorKind::NotFound),
        (429, ErrorKind::RateLimited),
        (500, ErrorKind::Server),
        (503, ErrorKind::Overloaded),
    ];
    for client in CLIENTS {
        for (status, kind) in kinds {
            let error = ApiError::new(status, kind, "some_code", "what happened");
            let read = parse_error(*client, status, &render_error(*client, &error));
            assert_eq!((read.status, read.kind, read.message.as_str()), (status, kind, "what happened"), "{client}");
        }
    }
}

#[test]
fn a_stream_error_is_an_event_of_its_format() {
    let error = ApiError::new(429, ErrorKind::RateLimited, "rate_limit_exceeded", "slow \"down\"");
    let text = |format| String::from_utf8(render_stream_error(format, &error)).unwrap();
    assert_eq!(
        text(Format::Chat),
        "data: {\"error\":{\"message\":\"slow \\\"down\\\"\",\"type\":\"rate_limit_error\",\"param\":null,\
         \"code\":\"rate_limit_exceeded\"}}\n\n"
    );
    assert_eq!(
        text(Format::Responses),
        "event: error\ndata: {\"type\":\"error\",\"code\":\"rate_limit_exceeded\",\"message\":\"slow \\\"down\\\"\",\
         \"param\":null,\"sequence_number\":0}\n\n"
    );
}
