//! The window. `logic` decides (events, actions, what to ask the worker for); views only draw and push actions.

pub mod action;
pub mod command;
pub mod context;
pub mod focus;
pub mod theme;
pub mod views;
pub mod widgets;
