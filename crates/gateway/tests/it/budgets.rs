//! Budgets: no overrun with any number of parallel calls; a task asks for more.

use crate::outside::{Outside, chat, error_code};
use crate::world::{World, chat_body, command_agent, connect, nobody, request, running_task_with};
use domain::{
    event::EventKind,
    request::{Ask, RequestStatus},
};
use http_body_util::BodyExt;
use hyper::StatusCode;
use store::{CallScope, CallStatus};

#[tokio::test]
async fn parallel_calls_cannot_overrun_a_budget() {
    let w = Outside::new().await;
    let key = w.new_key("few", None, Some("5 calls")).await;
    let slow = chat("openai/slow-d100", false);
    let all = futures::future::join_all((0..30).map(|_| w.ask_as(&key, "/v1/chat/completions", &slow))).await;
    let good = all.iter().filter(|(status, _)| *status == StatusCode::OK).count();
    assert_eq!((good, w.seen().len()), (5, 5));
    assert!(all.iter().all(|(s, _)| *s == StatusCode::OK || *s == StatusCode::TOO_MANY_REQUESTS));
    let response = w.send(&key, "/v1/chat/completions", &slow).await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(response.headers()["x-should-retry"], "false");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(error_code(&body), "budget_exceeded");
    assert_eq!(w.newest_call(CallStatus::Refused).await.error_code.as_deref(), Some("budget_exceeded"));
    assert_eq!(w.ask("/v1/chat/completions", &chat("openai/text", false)).await.0, StatusCode::OK, "another key");
}

#[tokio::test]
async fn money_is_counted_by_the_table_and_an_unknown_price_is_refused() {
    let w = Outside::new().await;
    let table = r#"{"rows":[{"provider":"openai","models":["text"],"prices":[{"input":1000000,"output":2000000}]}]}"#;
    w.gateway.replace_prices(gateway::prices::PriceTable::bundled().unwrap().with_own(table).unwrap());
    let key = w.new_key("rich", None, Some("1 USD")).await;
    let (status, body) = w.ask_as(&key, "/v1/chat/completions", &chat("openai/text", false)).await;
    assert_eq!(status, StatusCode::OK, "{body:?}");
    let call = w.newest_call(CallStatus::Done).await;
    let expected = call.prompt_tokens.unwrap() + 2 * call.completion_tokens.unwrap();
    assert_eq!(call.cost_micro_usd.map(i64::cast_unsigned), Some(expected));
    assert!(call.price.as_deref().is_some_and(|p| p.starts_with("own-")), "{:?}", call.price);
    let (status, body) = w.ask_as(&key, "/v1/chat/completions", &chat("gemini/text", false)).await;
    assert_eq!((status, error_code(&body).as_str()), (StatusCode::FORBIDDEN, "price_unknown"));
    let (status, _) = w.ask("/v1/chat/completions", &chat("gemini/text", false)).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(w.newest_call(CallStatus::Done).await.cost_micro_usd, None, "unknown is shown as unknown");
}

#[tokio::test]
async fn an_answer_without_a_limit_gets_one_where_the_budget_is_short() {
    let w = Outside::new().await;
    let key = w.new_key("short", None, Some("5000 tokens")).await;
    let (status, body) = w.ask_as(&key, "/v1/chat/completions", &chat("openai/text", false)).await;
    assert_eq!(status, StatusCode::OK, "{body:?}");
    let seen = w.seen().pop().unwrap();
    let sent = seen["body"]["max_completion_tokens"].as_u64();
    assert!(sent.is_some_and(|n| n > 1000 && n < 5000), "{seen}");
}

#[tokio::test]
async fn a_task_without_room_asks_a_person_and_nothing_more_of_it_leaves() {
    let w = World::new(nobody).await;
    let stream = crate::fake::stream_of("hello", &[]);
    w.fake.answer(move |_| crate::fake::sse_answer(&stream));
    let budget = Some("2 calls".parse().unwrap());
    let (task, _) = running_task_with(&w.store, command_agent(), "up/m", budget).await;
    let socket = w.gateway.open(task).await.unwrap().path;
    let mut connection = connect(&socket).await;
    let mut answers = Vec::new();
    for _ in 0..4 {
        connection.ready().await.unwrap();
        let response = connection.send_request(request("POST", "/v1/chat/completions", chat_body(&[]).to_string()));
        let response = response.await.unwrap();
        let (status, retry) = (response.status().as_u16(), response.headers().get("x-should-retry").cloned());
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let code = if status == 200 { String::new() } else { error_code(&body) };
        answers.push((status, code, retry.is_some_and(|r| r == "false")));
    }
    let refused = |code: &str, final_: bool| (429, code.to_owned(), final_);
    let fine = (200, String::new(), false);
    // The iteration is stopped with the first refusal, so the last one is not judged by its budget any more.
    assert_eq!(answers, [fine.clone(), fine, refused("budget_exceeded", true), refused("task_not_running", false)]);
    let requests = w.store.request_list(Some(task), None).await.unwrap();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].status, RequestStatus::Pending);
    let Ask::Budget(ask) = &requests[0].ask else { panic!("{requests:?}") };
    assert_eq!((ask.used.calls, ask.granted), (2, "4 calls".parse().unwrap()));
    assert_eq!(w.store.call_spent(CallScope::Task(task)).await.unwrap().total.calls, 2);
    assert_eq!(w.store.event_count(task, EventKind::LlmRefused).await.unwrap(), 2);
}
