//! Macros for what most classes have: properties, and results as dicts.

/// Defines properties: the name, the type and the value of each. `$this` is the object. The stub has the docs.
macro_rules! getters {
    ($class:ident($this:ident): $($name:ident: $kind:ty = $value:expr;)+) => {
        #[pymethods]
        impl $class {
            $(
                #[doc = stub!($class.$name)]
                #[getter]
                fn $name(&self) -> $kind {
                    let $this = self;
                    $value
                }
            )+
        }
    };
}

/// Adds fields of a struct to a dict. The name of a field is its key.
macro_rules! set_fields {
    ($dict:ident, $from:ident: $($field:ident)+) => {
        $($dict.set_item(stringify!($field), &$from.$field)?;)+
    };
}
