//! The contexts of the capabilities that one guest has used, found by their type.

use std::any::Any;

/// A list in which each context has one allocation, and an empty one has none: most
/// guests use no capability, and none uses many.
#[derive(Default)]
pub(crate) struct Contexts {
    first: Option<Box<Node<dyn Any + Send>>>,
}

struct Node<T: ?Sized> {
    next: Option<Box<Node<dyn Any + Send>>>,
    context: T,
}

impl Contexts {
    pub(crate) fn has<T: Any>(&self) -> bool {
        let mut next = self.first.as_deref();
        while let Some(node) = next {
            if node.context.is::<T>() {
                return true;
            }
            next = node.next.as_deref();
        }
        false
    }

    pub(crate) fn add<T: Any + Send>(&mut self, context: T) {
        let next = self.first.take();
        self.first = Some(Box::new(Node { next, context }));
    }

    pub(crate) fn get_mut<T: Any>(&mut self) -> Option<&mut T> {
        let mut next = self.first.as_deref_mut();
        while let Some(node) = next {
            if node.context.is::<T>() {
                return node.context.downcast_mut();
            }
            next = node.next.as_deref_mut();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_is_found_by_its_type() {
        let mut contexts = Contexts::default();
        assert!(!contexts.has::<u32>());
        contexts.add(7_u32);
        contexts.add("text".to_owned());
        *contexts.get_mut::<u32>().expect("it was added") += 1;
        assert_eq!(contexts.get_mut::<u32>(), Some(&mut 8));
        assert_eq!(contexts.get_mut::<String>().map(|s| &**s), Some("text"));
        assert_eq!(contexts.get_mut::<u64>(), None);
    }
}
