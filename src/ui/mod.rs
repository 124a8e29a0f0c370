//! The window. [`App::update`] decides (events, actions, what to ask the worker for); drawing only shows and pushes
//! actions.

pub mod action;
mod actions;
mod app;
mod availability;
mod changes;
pub mod command;
pub mod context;
mod dialogs;
mod draw;
mod export;
mod file_drop;
pub mod focus;
pub mod gallery;
mod icons;
pub mod lab;
pub mod layout;
mod loading;
pub mod menus;
pub mod notifications;
mod palette;
mod perform;
pub mod picture;
mod prompt_bar;
mod results;
mod sheets;
mod state;
mod status_bar;
mod stepping;
mod text_strip;
pub mod theme;
mod token_strip;
mod verdict;
pub mod views;
mod welcome;
pub mod widgets;
mod window;
mod work;

pub use app::{App, Setup, prepare};
pub use window::run;
