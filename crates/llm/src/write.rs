//! Writing JSON in the order in which the fields are put.
//!
//! An object or array is closed when it is dropped.

use serde::Serialize;

/// An object under way.
pub(crate) struct Object<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

/// An array under way.
pub(crate) struct Array<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

/// Writes a value.
pub(crate) fn value(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    let before = out.len();
    if serde_json::to_writer(&mut *out, value).is_err() {
        // Only a map with keys that are no texts can fail, and there is none; the output stays JSON all the same.
        out.truncate(before);
        out.extend_from_slice(b"null");
    }
}

impl<'a> Object<'a> {
    /// Begins an object.
    pub(crate) fn new(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, first: true }
    }

    fn key(&mut self, key: &str) {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
        value(self.out, key);
        self.out.push(b':');
    }

    /// Puts a field.
    pub(crate) fn put(&mut self, key: &str, v: &(impl Serialize + ?Sized)) {
        self.key(key);
        value(self.out, v);
    }

    /// Puts a field whose value is JSON already.
    pub(crate) fn raw(&mut self, key: &str, json: &str) {
        self.key(key);
        self.out.extend_from_slice(json.as_bytes());
    }

    /// Puts a field that is null.
    pub(crate) fn null(&mut self, key: &str) {
        self.put(key, &());
    }

    /// Puts a field if there is a value.
    pub(crate) fn some(&mut self, key: &str, v: &Option<impl Serialize>) {
        if let Some(v) = v {
            self.put(key, v);
        }
    }

    /// Puts an object.
    pub(crate) fn object(&mut self, key: &str) -> Object<'_> {
        self.key(key);
        Object::new(self.out)
    }

    /// Puts an array.
    pub(crate) fn array(&mut self, key: &str) -> Array<'_> {
        self.key(key);
        Array::new(self.out)
    }
}

impl Drop for Object<'_> {
    fn drop(&mut self) {
        self.out.push(b'}');
    }
}

impl<'a> Array<'a> {
    /// Begins an array.
    pub(crate) fn new(out: &'a mut Vec<u8>) -> Self {
        out.push(b'[');
        Self { out, first: true }
    }

    fn comma(&mut self) {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
    }

    /// Adds a value.
    pub(crate) fn push(&mut self, v: &(impl Serialize + ?Sized)) {
        self.comma();
        value(self.out, v);
    }

    /// Adds an object.
    pub(crate) fn object(&mut self) -> Object<'_> {
        self.comma();
        Object::new(self.out)
    }
}

impl Drop for Array<'_> {
    fn drop(&mut self) {
        self.out.push(b']');
    }
}

/// Writes an event of a stream: `event` if it has a name, and `data`, which must be one line.
pub(crate) fn sse(out: &mut Vec<u8>, name: Option<&str>, data: impl FnOnce(&mut Vec<u8>)) {
    if let Some(name) = name {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(name.as_bytes());
        out.push(b'\n');
    }
    out.extend_from_slice(b"data: ");
    data(out);
    out.extend_from_slice(b"\n\n");
}
