//! Macros for properties of classes and for dicts of struct fields.

/// Defines properties of a Python class. Each line has the name of a property, its type, and an expression for its
/// value. In the expressions `$this` is the object. The docs of a property are the docstring in the stub.
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

/// Adds fields of a struct to a dict. The key of each field is the name of the field.
macro_rules! set_fields {
    ($dict:ident, $from:ident: $($field:ident)+) => {
        $($dict.set_item(stringify!($field), &$from.$field)?;)+
    };
}
