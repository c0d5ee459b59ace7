//! Running zemi: settings, rights, encryption, commands, exit codes, pages, supervision, taking
//! over from others.

mod commands;
mod earlier;
mod exits;
mod hostile;
mod moving_in;
mod privileges;
mod prometheus;
mod server_settings;
mod server_states;
mod status_page;
mod supervise;
pub mod tls;
mod web;
