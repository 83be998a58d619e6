//! The source: partitions of a topic read by manual assignment (rdkafka's only room).
