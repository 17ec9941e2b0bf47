//! The kernel versions that the core can imitate, and the macro that declares switches with a value for each version.

use super::words::words;

words! {
    /// A kernel version that gives each switch its value. `Newest` is the default.
    #[derive(Default)]
    pub enum Profile: "profile" {
        /// Linux 6.18 stable.
        V618 = "v618",
        /// Phase III of the swap table series.
        P3 = "p3",
        /// Phase IV of the swap table series as posted, on the kernel that the series was made for. The defects that
        /// the posted series has in the ownership of slots are a switch of their own, `rfc_literal`, which is off in
        /// each profile because `check()` fails with some of these defects.
        Series = "series",
        /// Phase IV of the swap table series with the later repairs.
        #[default]
        Newest = "newest",
    }
}

/// Declares a struct of switches. A switch has a comment, a name, a type, a default value, and the values of the
/// profiles that differ from the default. The structs of further switches follow after `with`.
///
/// The type of a switch is a [`Word`](super::words::Word). The struct has the methods `of`, `names`, `set_if_known`
/// and `words`.
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
