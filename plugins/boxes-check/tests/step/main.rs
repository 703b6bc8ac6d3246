//! The whole step, run natively.

mod done;
mod layouts;
mod odd_data;
mod sample;
