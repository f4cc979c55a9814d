"""A process that talks to the tests over DDS: ``talkers.py transforms`` or ``talkers.py stamped``.

It runs until its standard input closes.
"""

import contextlib
import math
import sys
import threading

import rclpy
from geometry_msgs.msg import TransformStamped
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.time import Time
from sensor_msgs.msg import FluidPressure, Temperature


def transform(parent: str, child: str, stamp_ns: int, x_m: float, yaw: float) -> TransformStamped:
    """`child` at (x, 0, 0) of `parent`, turned by `yaw` about z."""
    message = TransformStamped()
    message.header.frame_id, message.child_frame_id = parent, child
    message.header.stamp = Time(nanoseconds=stamp_ns).to_msg()
    message.transform.translation.x = x_m
    message.transform.rotation.z = math.sin(yaw / 2)
    message.transform.rotation.w = math.cos(yaw / 2)
    return message


def talk_transforms(node: Node) -> None:
    """Two latched static transforms in two calls; a robot that drives 10 m/s along x, at 20 Hz."""
    from tf2_ros import StaticTransformBroadcaster, TransformBroadcaster

    static, moving = StaticTransformBroadcaster(node), TransformBroadcaster(node)
    static.sendTransform(transform("base_link", "mast", 0, 2.0, 0.0))
    static.sendTransform([transform("mast", "camera", 0, 0.5, math.pi / 2)])
    step = iter(range(1, 1_000_000))

    def drive() -> None:
        stamp_ns = 100_000_000_000 + next(step) * 50_000_000
        x_m = (stamp_ns - 100_000_000_000) * 1e-9 * 10.0
        moving.sendTransform(
            [
                transform("odom", "base_link", stamp_ns, x_m, 0.0),
                transform("map", "odom", stamp_ns, 1.0, 0.0),
            ]
        )

    node.create_timer(0.05, drive)


def talk_stamped(node: Node) -> None:
    """Temperatures and pressures with equal numbers in them, the stamps 3 ms apart, at 20 Hz."""
    hot = node.create_publisher(Temperature, "temperature", 10)
    press = node.create_publisher(FluidPressure, "pressure", 10)
    step = iter(range(1, 1_000_000))

    def tell() -> None:
        number = next(step)
        stamp_ns = number * 50_000_000
        one, other = (
            Temperature(temperature=float(number)),
            FluidPressure(fluid_pressure=float(number)),
        )
        one.header.stamp = Time(nanoseconds=stamp_ns).to_msg()
        other.header.stamp = Time(nanoseconds=stamp_ns + 3_000_000).to_msg()
        hot.publish(one)
        press.publish(other)

    node.create_timer(0.05, tell)


def main() -> None:
    """Talk until told to stop."""
    rclpy.init()
    node = rclpy.create_node("talker")
    {"transforms": talk_transforms, "stamped": talk_stamped}[sys.argv[1]](node)
    threading.Thread(target=lambda: (sys.stdin.read(), rclpy.try_shutdown()), daemon=True).start()
    with contextlib.suppress(ExternalShutdownException):
        rclpy.spin(node)


if __name__ == "__main__":
    main()
