//! The kernel versions that the core can imitate, and the macro that declares switches with a value for each version.

use super::words::words;

words! {
    /// A kernel version, which defines the value of each switch of the core. `Newest` is the default.
    #[derive(Default)]
    pub enum Profile: "profile" {
        /// Linux 6.18 stable.
        V618 = "v618",
        /// Phase III of the swap table patch series.
        P3 = "p3",
        /// Phase IV of the swap table patch series as posted, on the kernel for which the series was made. The switch
        /// `rfc_literal` turns on the defects that the posted series has in the ownership of slots. `rfc_literal` is
        /// off in every profile, because `Swap::check` fails with some of these defects.
        Series = "series",
        /// Phase IV of the swap table patch series, with the repairs that were posted later.
        #[default]
        Newest = "newest",
    }
}

/// Declares a struct of switches. The declaration of a switch has a comment, a name, a type, a default value, and the
/// value of each profile in which the value differs from the default. After `with`, the declaration names the fields
/// that hold further structs of switches.
///
/// The type of a switch implements [`Word`](super::words::Word). The struct has the methods `of`, `names`,
/// `set_if_known` and `words`.
macro_rules! switches {
    (
        $(#[$attribute:meta])*
        $visible:vis struct $kind:ident {
            $($(#[$of_switch:meta])* $name:ident: $type:ty = $value:expr $(, $($profile:ident)|+ => $other:expr)*;)+
        }
        $(with { $($(#[$of_group:meta])* $group:ident: $group_type:ty),+ })?
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        $visible struct $kind {
            $($(#[$of_switch])* pub $name: $type,)+
            $($($(#[$of_group])* pub $group: $group_type,)+)?
        }

        impl $kind {
            /// Returns the switches with the values of a profile.
            $visible const fn of(profile: $crate::base::profile::Profile) -> Self {
                Self {
                    $($name: match profile {
                        $($($crate::base::profile::Profile::$profile)|+ => $other,)*
                        _ => $value,
                    },)+
                    $($($group: <$group_type>::of(profile),)+)?
                }
            }

            /// Returns the name of every switch, in the order of the declaration.
            pub(crate) fn names() -> Vec<&'static str> {
                [vec![$(stringify!($name)),+] $($(, <$group_type>::names())+)?].concat()
            }

            /// Sets a switch by its name. Returns whether the name is known. Errors: `UnknownName`, `OutOfRange`
            /// (EINVAL) for an unknown word.
            pub(crate) fn set_if_known(&mut self, name: &str, word: &str) -> $crate::base::error::Result<bool> {
                $(if name == stringify!($name) {
                    self.$name = $crate::base::words::Word::parse(stringify!($name), word)?;
                    return Ok(true);
                })+
                Ok(false $($(|| self.$group.set_if_known(name, word)?)+)?)
            }

            /// Returns the name and the word of every switch, in the order of the declaration.
            $visible fn words(&self) -> Vec<(&'static str, String)> {
                use $crate::base::words::Word;
                [vec![$((stringify!($name), self.$name.word())),+] $($(, self.$group.words())+)?].concat()
            }
        }
    };
}

pub(crate) use switches;
