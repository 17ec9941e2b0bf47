//! Files of groups as attributes of an object in a program. The name of an attribute is the name of a file with
//! underscores instead of dots, and the value of an attribute is the parsed text of the file.

use crate::base::error::Result;
use crate::base::types::CssId;
use crate::machine::Swap;

/// The value that the text of a file contains.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FileValue {
    /// The text is a number.
    Number(u64),
    /// Each line of the text has a key and a value.
    Lines(Vec<(String, Self)>),
    /// The text is neither a number nor lines of keys and values. The newline at the end of the text is left out.
    Text(String),
}

impl FileValue {
    /// Parses the text of a file.
    pub fn of(text: &str) -> Self {
        let text = text.trim_end();
        if let Ok(number) = text.parse() {
            return Self::Number(number);
        }
        if !text.contains(' ') {
            return Self::Text(text.into());
        }
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        Self::Lines(lines.map(|(key, value)| (key.into(), Self::of(value))).collect())
    }
}

impl Swap {
    /// Returns the name of the group's file that belongs to an attribute: the file whose name, with underscores
    /// instead of dots, is `attribute`. Errors: `Cgroup` (EINVAL) when memcg is disabled.
    pub fn memcg_file_of(&self, css: CssId, attribute: &str) -> Result<Option<&'static str>> {
        Ok(self.memcg_files(css)?.into_iter().find(|file| file.replace('.', "_") == attribute))
    }

    /// Returns the name of the file that a keyword argument means. A keyword is the name of an attribute, with or
    /// without the prefix `memory_`. Errors: as [`Swap::memcg_file_of`].
    pub fn memcg_file_of_keyword(&self, css: CssId, keyword: &str) -> Result<Option<&'static str>> {
        match self.memcg_file_of(css, keyword)? {
            None => self.memcg_file_of(css, &format!("memory_{keyword}")),
            file => Ok(file),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_numbers_lines_or_words() {
        assert_eq!(FileValue::of("4096\n"), FileValue::Number(4096));
        assert_eq!(FileValue::of("max\n"), FileValue::Text("max".into()));
        assert_eq!(FileValue::of("-1\n"), FileValue::Text("-1".into()));
        let lines = [("low", FileValue::Number(0)), ("max", FileValue::Text("x".into()))];
        let lines = lines.map(|(key, value)| (key.into(), value)).to_vec();
        assert_eq!(FileValue::of("low 0\nmax x\n"), FileValue::Lines(lines));
    }
}
