//! JSON-RPC 2.0, one message per request.

use serde_json::{Value, json};

/// A message of the client.
#[derive(Debug, PartialEq)]
pub(super) enum Message {
    /// Wants an answer.
    Request {
        /// As given: a text or a number.
        id: Value,
        /// What is wanted.
        method: String,
        /// With what.
        params: Value,
    },
    /// Wants none.
    Notification,
    /// An answer to a request that was never made.
    Response,
}

/// An error of the protocol; what a tool has to say is a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RpcError {
    code: i32,
    message: String,
}

impl RpcError {
    pub(super) fn invalid_request(message: impl Into<String>) -> Self {
        Self { code: -32600, message: message.into() }
    }

    pub(super) fn method_not_found(method: &str) -> Self {
        Self { code: -32601, message: format!("there is no method {method:?} here") }
    }

    pub(super) fn invalid_params(message: impl Into<String>) -> Self {
        Self { code: -32602, message: message.into() }
    }

    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self { code: -32603, message: message.into() }
    }

    fn parse(message: impl Into<String>) -> Self {
        Self { code: -32700, message: message.into() }
    }
}

/// Reads a message.
pub(super) fn parse(bytes: &[u8]) -> Result<Message, RpcError> {
    let value: Value = serde_json::from_slice(bytes).map_err(|e| RpcError::parse(format!("not JSON: {e}")))?;
    let Value::Object(mut map) = value else {
        return Err(RpcError::invalid_request("a message is one JSON object; batches are not supported"));
    };
    if map.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return Err(RpcError::invalid_request("`jsonrpc` must be \"2.0\""));
    }
    let id = map.remove("id");
    match (map.remove("method"), id) {
        (Some(Value::String(method)), Some(id @ (Value::String(_) | Value::Number(_)))) => {
            Ok(Message::Request { id, method, params: map.remove("params").unwrap_or(Value::Null) })
        }
        (Some(Value::String(_)), None) => Ok(Message::Notification),
        (None, Some(_)) if map.contains_key("result") || map.contains_key("error") => Ok(Message::Response),
        _ => Err(RpcError::invalid_request("a request has a `method` and an `id` that is a text or a number")),
    }
}

/// The answer to a request that went well.
pub(super) fn success(id: &Value, result: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "result": result })
}

/// The answer to a request that did not.
pub(super) fn failure(id: &Value, error: &RpcError) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "error": { "code": error.code, "message": error.message } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_told_apart() {
        let request = Message::Request { id: json!(0), method: "ping".into(), params: Value::Null };
        assert_eq!(parse(br#"{"jsonrpc":"2.0","id":0,"method":"ping"}"#), Ok(request));
        assert_eq!(parse(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#), Ok(Message::Notification));
        assert_eq!(parse(br#"{"jsonrpc":"2.0","id":1,"result":{}}"#), Ok(Message::Response));
        let bad = [
            "",
            "[]",
            "{}",
            r#"{"jsonrpc":"1.0","id":1,"method":"x"}"#,
            r#"{"jsonrpc":"2.0","id":null,"method":"x"}"#,
            r#"{"jsonrpc":"2.0","id":1}"#,
            r#"{"jsonrpc":"2.0","id":{},"method":"x"}"#,
            r#"[{"jsonrpc":"2.0"}]"#,
        ];
        for text in bad {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
