//! Enums whose variants have names for users; these names are called words. A word appears in the declaration of its
//! variant only.

use crate::base::error::{Result, SwapError};

/// Returns the error for an unknown word, with the list of known words.
pub(crate) fn unknown_name(what: &'static str, name: &str, known: &[&str]) -> SwapError {
    SwapError::UnknownName { what, name: name.into(), known: known.join(", ") }
}

/// A value that has a word: an enum that [`words`] declares, or the type of a switch.
pub(crate) trait Word: Sized {
    /// Parses a word. `what` names the value in an error. Errors: `UnknownName`, `OutOfRange` (EINVAL).
    fn parse(what: &'static str, word: &str) -> Result<Self>;

    /// Returns the word of this value.
    fn word(&self) -> String;
}

impl Word for bool {
    fn parse(what: &'static str, word: &str) -> Result<Self> {
        match word {
            "on" => Ok(true),
            "off" => Ok(false),
            _ => Err(unknown_name(what, word, &["on", "off"])),
        }
    }

    fn word(&self) -> String {
        if *self { "on" } else { "off" }.into()
    }
}

/// Parses a word of `T`. The word `none` is parsed too, and gives `None`. Errors: as `T::parse`; an `UnknownName`
/// error also lists the word `none`.
pub(crate) fn parse_optional<T: Word>(what: &'static str, none: &str, word: &str) -> Result<Option<T>> {
    if word == none {
        return Ok(None);
    }
    T::parse(what, word).map(Some).map_err(|error| match error {
        SwapError::UnknownName { what, name, known } => {
            SwapError::UnknownName { what, name, known: format!("{known}, {none}") }
        }
        error => error,
    })
}

/// The word of an optional switch that has no value of its own. For such a switch, another switch decides the
/// behaviour.
const DEFAULT: &str = "default";

impl<T: Word> Word for Option<T> {
    fn parse(what: &'static str, word: &str) -> Result<Self> {
        parse_optional(what, DEFAULT, word)
    }

    fn word(&self) -> String {
        self.as_ref().map_or(DEFAULT.into(), Word::word)
    }
}

/// Declares an enum with a word for each variant: `words! { pub enum Workers: "workers" { Inline = "inline", ... }
/// }`.
///
/// The string after the colon, here "workers", names the enum in an error. The enum is `Copy` and `Eq` and has
/// `NAMES`, `ALL`, `from_name` and `name`.
macro_rules! words {
    (
        $(#[$attribute:meta])*
        $visible:vis enum $kind:ident: $what:literal {
            $($(#[$of_variant:meta])* $variant:ident = $word:literal),+ $(,)?
        }
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        $visible enum $kind {
            $($(#[$of_variant])* $variant,)+
        }

        impl $kind {
            /// The word of every variant, in the order of the declaration.
            $visible const NAMES: &'static [&'static str] = &[$($word),+];

            /// Every variant, in the order of [`Self::NAMES`].
            $visible const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Returns the variant whose word is `name`. Errors: `UnknownName` (EINVAL), which lists the known words.
            $visible fn from_name(name: &str) -> $crate::base::error::Result<Self> {
                <Self as $crate::base::words::Word>::parse($what, name)
            }

            /// Returns the word of the variant.
            $visible const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl $crate::base::words::Word for $kind {
            fn parse(what: &'static str, word: &str) -> $crate::base::error::Result<Self> {
                match word {
                    $($word => Ok(Self::$variant),)+
                    _ => Err($crate::base::words::unknown_name(what, word, Self::NAMES)),
                }
            }

            fn word(&self) -> String {
                self.name().into()
            }
        }
    };
}

pub(crate) use words;

#[cfg(test)]
mod tests {
    use super::*;

    words! {
        /// An enum with two words, for the tests of this file.
        #[derive(Default)]
        pub(crate) enum Side: "side" {
            /// The left side.
            #[default]
            Left = "left",
            /// The right side.
            Right = "right",
        }
    }

    #[test]
    fn each_variant_is_found_by_its_name_and_an_error_lists_them() {
        for (&side, &name) in Side::ALL.iter().zip(Side::NAMES) {
            assert_eq!((Side::from_name(name), side.name()), (Ok(side), name));
        }
        let error = Side::from_name("up").expect_err("no side");
        assert_eq!((error.to_string().as_str(), error.errno()), (r#"side "up" is not one of left, right"#, 22));
    }

    #[test]
    fn switches_read_what_they_write() {
        assert_eq!(<Option<Side>>::parse("side", &None::<Side>.word()), Ok(None));
        assert_eq!(<Option<Side>>::parse("side", &Some(Side::Right).word()), Ok(Some(Side::Right)));
        assert!([true, false].iter().all(|is_on| bool::parse("switch", &is_on.word()) == Ok(*is_on)));
        assert!(bool::parse("switch", "default").is_err() && <Option<Side>>::parse("side", "on").is_err());
    }
}
