//! `drover man`: the manual page in roff, one section for each command.
//!
//! One page for all commands, since a page each would have to be installed and found apart. Made
//! from the definitions that parse the arguments; needs no store and no settings.

use std::io::{self, Write};

use clap::CommandFactory;

use super::args::Cli;
use super::output;

/// Prints the page.
///
/// # Errors
/// If standard output cannot be written.
pub fn run() -> io::Result<()> {
    output::write(&page()?)
}

fn page() -> io::Result<Vec<u8>> {
    let mut root = Cli::command();
    root.build();
    let mut out = Vec::new();
    let man = clap_mangen::Man::new(root.clone());
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    man.render_description_section(&mut out)?;
    man.render_options_section(&mut out)?;
    for command in leaves(&root) {
        let name = command.get_bin_name().unwrap_or_default().to_owned();
        writeln!(out, ".SH \"{}\"", name.to_uppercase())?;
        let text = command.get_about().map(ToString::to_string).unwrap_or_default();
        writeln!(out, "{text}.")?;
        let own = command.mut_args(|arg| {
            let shared = arg.is_global_set() || matches!(arg.get_id().as_str(), "help" | "version");
            arg.hide(shared)
        });
        let usage = own.clone().render_usage().to_string();
        writeln!(out, ".PP\n{}", roff(usage.trim_start_matches("Usage: ")))?;
        let mut options = Vec::new();
        clap_mangen::Man::new(own).render_options_section(&mut options)?;
        let options = String::from_utf8_lossy(&options);
        // A section of its own would end the command's.
        write!(out, "{}", options.replace(".SH OPTIONS", ".SS Options"))?;
    }
    writeln!(out, ".SH \"EXIT STATUS\"\n.nf\n{}\n.fi", super::exit_code::EXIT_CODES)?;
    Ok(out)
}

/// Text in which roff sees no hyphens to break at and no requests.
fn roff(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-").replace("\n", "\n.br\n")
}

/// The commands below `root` that have none below them, in order.
fn leaves(root: &clap::Command) -> Vec<clap::Command> {
    if root.has_subcommands() {
        root.get_subcommands().flat_map(leaves).collect()
    } else {
        vec![root.clone()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_command() {
        let text = String::from_utf8(page().unwrap()).unwrap();
        for part in ["DROVER BUILD", "DROVER NAR LS", "max\\-jobs", "EXIT STATUS", "130/143"] {
            assert!(text.contains(part), "{part}");
        }
    }
}
