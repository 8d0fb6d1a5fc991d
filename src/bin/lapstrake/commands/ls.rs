//! `lapstrake ls`: the images that were built here.

use lapstrake::build::list;
use serde_json::json;

use crate::args;
use crate::exit::{Failure, chain, print};
use crate::machine::Machine;
use crate::progress::bytes;

pub(crate) fn ls(machine: &Machine, arguments: &args::Ls) -> Result<(), Failure> {
    let images = list(&machine.store()?).map_err(|error| Failure::world(chain(&error)))?;
    if arguments.json {
        let list: Vec<_> = images
            .iter()
            .map(|image| {
                json!({
                    "name": image.name, "platform": image.platform, "digest": image.digest.to_string(), "size": image.size,
                    "tags": image.tags, "age_seconds": image.age_seconds,
                })
            })
            .collect();
        return print(&format!("{:#}\n", json!({ "version": 1, "images": list })));
    }
    if images.is_empty() {
        return print("no image was built here yet\n");
    }
    let width = images.iter().map(|image| image.name.chars().count()).max().unwrap_or(0).max(4);
    let mut text = format!("{:<width$}  {:<12}  {:<19}  {:>10}  {:>9}  TAGS\n", "NAME", "PLATFORM", "DIGEST", "SIZE", "BUILT");
    for image in &images {
        let digest: String = image.digest.to_string().chars().take(19).collect();
        text.push_str(&format!(
            "{:<width$}  {:<12}  {digest}  {:>10}  {:>9}  {}\n",
            image.name,
            image.platform,
            bytes(image.size),
            age(image.age_seconds),
            image.tags.join(" ")
        ));
    }
    print(&text)
}

fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s ago"),
        60..3600 => format!("{}m ago", seconds / 60),
        3600..86_400 => format!("{}h ago", seconds / 3600),
        86_400.. => format!("{}d ago", seconds / 86_400),
    }
}
