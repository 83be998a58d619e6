//! `kappa why`: the number, the records behind it, what the state keeps, and whether the stores say the same.

mod command;
mod random;
mod shop;
