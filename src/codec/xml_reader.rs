//! Request bodies in XML: a bounded, DTD-free door to `roxmltree`.
