//! What capabilities share between all attempts of a runner, found by its type.

use std::any::Any;

/// Filled before the first attempt, and only read afterwards.
#[derive(Default)]
pub(crate) struct Services(Vec<Box<dyn Any + Send + Sync>>);

impl Services {
    pub(crate) fn add<T: Any + Send + Sync>(&mut self, service: T) {
        self.0.push(Box::new(service));
    }

    pub(crate) fn get<T: Any>(&self) -> Option<&T> {
        self.0.iter().find_map(|service| service.downcast_ref())
    }
}
