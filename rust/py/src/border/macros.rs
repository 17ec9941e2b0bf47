//! Macros for properties of classes and for dicts of struct fields.

/// Defines properties of a class. A line is the name of a property, its type, and an expression for its value.
/// `$this` is the object in these expressions. The docs of a property are the docstring of the stub.
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

/// Adds fields of a struct to a dict. The key of a field is its name.
macro_rules! set_fields {
    ($dict:ident, $from:ident: $($field:ident)+) => {
        $($dict.set_item(stringify!($field), &$from.$field)?;)+
    };
}
