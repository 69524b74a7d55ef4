//! The README cannot drift from the program: its table of settings is the program's own.

use s3pail::config::settings::SETTINGS;

/// The table as it must stand in README.md.
fn table() -> String {
    let mut table = String::from(
        "| flag | variable | key in `config.json` | allowed | default | what it does |\n|---|---|---|---|---|---|\n",
    );
    let code = |names: &[&str]| {
        let names = names.iter().filter(|name| !name.is_empty());
        names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    };
    for setting in SETTINGS {
        table.push_str(&format!(
            "| {} | {} | {} | {} | {} | {} |\n",
            code(&[format!("{} {}", setting.flag, setting.metavar).trim()]),
            code(setting.variables),
            code(&[setting.key]),
            setting.kind.allowed(),
            setting.default,
            setting.help,
        ));
    }
    table
}

#[test]
fn the_readme_shows_every_setting_as_the_program_has_it() {
    let readme = include_str!("../../README.md");
    assert!(readme.contains(&table()), "README.md must hold this table:\n\n{}", table());
}
