//! The syntax: what `pipe fmt` makes of texts, and what holds for every text.

mod syntax {
    pub mod layout;
    pub mod mutants;
    pub mod properties;
    pub mod reference;
    pub mod suite;
    pub mod texts;
}
