//! A cursor through a request's JSON that remembers its path, so that a provider can name the field it refuses.

use serde_json::Value;

/// A step of a path.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    Key(String),
    Index(usize),
}

/// What is wrong with a field.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Wrong {
    /// The provider knows no such field.
    Unknown,
    /// A required field is not there.
    Missing,
    /// What was expected.
    Type(&'static str),
    /// The provider's own sentence.
    Value(String),
}

/// A field and what is wrong with it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bad {
    pub(crate) path: Vec<Step>,
    pub(crate) wrong: Wrong,
}

impl Bad {
    /// `messages[0].content`, as OpenAI writes it.
    pub(crate) fn bracketed(&self) -> String {
        let mut out = String::new();
        for step in &self.path {
            match step {
                Step::Key(key) if out.is_empty() => out.push_str(key),
                Step::Key(key) => out.push_str(&format!(".{key}")),
                Step::Index(i) => out.push_str(&format!("[{i}]")),
            }
        }
        out
    }

    /// `messages.0.content`, as Anthropic writes it.
    pub(crate) fn dotted(&self) -> String {
        let steps: Vec<String> = self
            .path
            .iter()
            .map(|step| match step {
                Step::Key(key) => key.clone(),
                Step::Index(i) => i.to_string(),
            })
            .collect();
        steps.join(".")
    }

    /// The name of the last step.
    pub(crate) fn field(&self) -> String {
        match self.path.last() {
            Some(Step::Key(key)) => key.clone(),
            Some(Step::Index(i)) => i.to_string(),
            None => String::new(),
        }
    }

    /// The path without its last step.
    pub(crate) fn parent(&self) -> Self {
        let path = self.path.split_last().map(|(_, rest)| rest.to_vec()).unwrap_or_default();
        Self { path, wrong: self.wrong.clone() }
    }
}

/// A value and how it was reached.
#[derive(Debug, Clone)]
pub(crate) struct At<'a> {
    pub(crate) value: &'a Value,
    path: Vec<Step>,
}

impl<'a> At<'a> {
    pub(crate) fn root(value: &'a Value) -> Self {
        Self { value, path: Vec::new() }
    }

    pub(crate) fn bad(&self, wrong: Wrong) -> Bad {
        Bad { path: self.path.clone(), wrong }
    }

    pub(crate) fn says(&self, sentence: impl Into<String>) -> Bad {
        self.bad(Wrong::Value(sentence.into()))
    }

    fn below(&self, value: &'a Value, step: Step) -> Self {
        let mut path = self.path.clone();
        path.push(step);
        Self { value, path }
    }

    /// Refuses an object with a field that is not in the list.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), Bad> {
        let Some(object) = self.value.as_object() else { return Err(self.bad(Wrong::Type("an object"))) };
        match object.iter().find(|(key, _)| !known.contains(&key.as_str())) {
            Some((key, value)) => Err(self.below(value, Step::Key(key.clone())).bad(Wrong::Unknown)),
            None => Ok(()),
        }
    }

    /// A field that may be absent or null.
    pub(crate) fn get(&self, key: &str) -> Option<Self> {
        let value = self.value.get(key).filter(|v| !v.is_null())?;
        Some(self.below(value, Step::Key(key.to_owned())))
    }

    /// A field that must be there.
    pub(crate) fn need(&self, key: &str) -> Result<Self, Bad> {
        self.get(key).ok_or_else(|| {
            let mut path = self.path.clone();
            path.push(Step::Key(key.to_owned()));
            Bad { path, wrong: Wrong::Missing }
        })
    }

    pub(crate) fn str(&self) -> Result<&'a str, Bad> {
        self.value.as_str().ok_or_else(|| self.bad(Wrong::Type("a string")))
    }

    pub(crate) fn count(&self) -> Result<u64, Bad> {
        self.value.as_u64().ok_or_else(|| self.bad(Wrong::Type("an integer")))
    }

    pub(crate) fn number(&self) -> Result<f64, Bad> {
        self.value.as_f64().ok_or_else(|| self.bad(Wrong::Type("a number")))
    }

    pub(crate) fn flag(&self) -> Result<bool, Bad> {
        self.value.as_bool().ok_or_else(|| self.bad(Wrong::Type("a boolean")))
    }

    pub(crate) fn object(&self) -> Result<(), Bad> {
        if self.value.is_object() { Ok(()) } else { Err(self.bad(Wrong::Type("an object"))) }
    }

    pub(crate) fn list(&self) -> Result<Vec<Self>, Bad> {
        let items = self.value.as_array().ok_or_else(|| self.bad(Wrong::Type("an array")))?;
        Ok(items.iter().enumerate().map(|(i, item)| self.below(item, Step::Index(i))).collect())
    }

    /// A list that may be absent.
    pub(crate) fn items(&self, key: &str) -> Result<Vec<Self>, Bad> {
        self.get(key).map_or(Ok(Vec::new()), |at| at.list())
    }

    /// A text that may be absent.
    pub(crate) fn text(&self, key: &str) -> Result<Option<&'a str>, Bad> {
        self.get(key).map(|at| at.str()).transpose()
    }

    /// A flag that may be absent.
    pub(crate) fn yes(&self, key: &str) -> Result<bool, Bad> {
        self.get(key).map_or(Ok(false), |at| at.flag())
    }
}
