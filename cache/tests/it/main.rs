//! The store as its users and FORMAT.md know it, with real processes, real kills and real full disks.

#[cfg(test)]
mod child;
#[cfg(test)]
mod collection;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod disk;
#[cfg(test)]
mod store;
#[cfg(test)]
mod tidy;
#[cfg(test)]
mod users;
